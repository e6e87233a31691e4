//! Redis: `appendonly yes`, `appendfsync always`, no snapshots.
//!
//! An update is one call of a script, the way to change several keys at once, so that the arm keeps
//! what jobslate keeps: the record with "newest wins", the ids by status, the transitions. The
//! generous arm writes the record alone. What is written goes to database 0, which each arm finds
//! empty; what is read to database 1, filled once.

use std::fmt::Write as _;

use jobslate::model::Update;

use super::load::{self, Requests};
use super::reply::Protocol;

/// A hash for the record, a sorted set of ids for each status, a list of transitions; a set is
/// ordered by `at`. What did not change is not written, and the list is cut only once it is long.
const APPLY: &str = "
local id, at, status, error = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local was = redis.call('HMGET', 'job:' .. id, 'at', 'status', 'error')
if was[1] and tonumber(was[1]) > tonumber(at) then return 0 end
redis.call('HSET', 'job:' .. id, 'at', at, 'status', status, 'pipeline', ARGV[3],
  'error', error, 'progress', ARGV[5])
if was[2] and was[2] ~= status then redis.call('ZREM', 'status:' .. was[2], id) end
redis.call('ZADD', 'status:' .. status, at, id)
if was[2] ~= status or was[3] ~= error then
  local length = redis.call('RPUSH', 'history:' .. id, at .. ' ' .. status .. ' ' .. error)
  if length > 32 then redis.call('LTRIM', 'history:' .. id, -32, -1) end
end
return 1";

const WRITE_DATABASE: &str = "0";
const READ_DATABASE: &str = "1";

/// A server that somebody else started.
pub struct Redis {
    pub address: String,
    /// How the script is called.
    script: String,
}

impl Redis {
    /// # Panics
    /// If the server acknowledges what is not synced: then there is nothing to compare.
    pub fn connect(address: String) -> Self {
        let mut redis = Self { address, script: String::new() };
        assert!(redis.ask(&["CONFIG", "GET", "appendonly"]).contains("yes"), "appendonly yes");
        assert!(redis.ask(&["CONFIG", "GET", "appendfsync"]).contains("always"), "it syncs");
        let reply = redis.ask(&["SCRIPT", "LOAD", APPLY]);
        redis.script = reply.lines().nth(1).unwrap().to_owned();
        redis
    }

    /// The reply to one command, as it came.
    fn ask(&self, words: &[&str]) -> String {
        load::ask_once(&self.address, Protocol::Resp, &command(words))
    }

    /// Forgets everything that the arms wrote.
    pub fn clear(&self) {
        self.ask(&["FLUSHDB", "SYNC"]);
    }

    /// How many keys the arms wrote.
    pub fn keys(&self) -> usize {
        integer(&self.ask(&["DBSIZE"]))
    }

    /// How many jobs stand in the index by status.
    pub fn jobs_by_status(&self) -> usize {
        ["queued", "processing", "error", "completed"]
            .iter()
            .map(|status| integer(&self.ask(&["ZCARD", &format!("status:{status}")])))
            .sum()
    }

    /// Fills the database that is read, unless it is full, with one update for each job.
    pub fn hold(&self, updates: &[Update]) {
        let last = updates.last().unwrap();
        let select = command(&["SELECT", READ_DATABASE]);
        let probe = command(&["HGETALL", &format!("job:{}", last.job_id.as_str())]);
        let both = [select.clone(), probe].concat();
        let reply = load::ask_many(&self.address, Protocol::Resp, &both, 2);
        if reply.contains("completed") {
            return;
        }
        self.ask(&["CONFIG", "SET", "appendfsync", "no"]);
        load::run(&self.address, self.applies(updates, 1_000).with_hello(select), 1);
        self.ask(&["CONFIG", "SET", "appendfsync", "always"]);
        // Syncs what went before it, so that no arm has to.
        self.ask(&["SET", "held", "yes"]);
    }

    /// The script for each update, `length` of them in a request.
    pub fn applies(&self, updates: &[Update], length: usize) -> Requests {
        requests(updates, length, |update| {
            let fields = Fields::of(update);
            let [at, status, pipeline, error, progress] = fields.words();
            let job_id = update.job_id.as_str();
            let head = ["EVALSHA", &self.script, "1", job_id];
            command(&[&head[..], &[at, status, pipeline, error, progress][..]].concat())
        })
    }
}

/// `HSET` of each record: no index, no history, the last to come wins.
pub fn hsets(updates: &[Update]) -> Requests {
    requests(updates, 1, |update| {
        let key = format!("job:{}", update.job_id.as_str());
        let fields = Fields::of(update);
        let [at, status, pipeline, error, progress] = fields.words();
        command(&[
            "HSET", &key, "at", at, "status", status, "pipeline", pipeline, "error", error,
            "progress", progress,
        ])
    })
}

/// `HGETALL` of each job.
pub fn hgetalls(job_ids: &[&str]) -> Requests {
    let mut requests =
        Requests::new(Protocol::Resp).with_hello(command(&["SELECT", READ_DATABASE]));
    for job_id in job_ids {
        requests.push(&command(&["HGETALL", &format!("job:{job_id}")]), 1);
    }
    requests
}

fn requests(
    updates: &[Update],
    length: usize,
    command_of: impl Fn(&Update) -> Vec<u8>,
) -> Requests {
    let hello = command(&["SELECT", WRITE_DATABASE]);
    let mut requests = Requests::new(Protocol::Resp).with_hello(hello);
    for batch in updates.chunks(length) {
        let commands: Vec<u8> = batch.iter().flat_map(&command_of).collect();
        requests.push(&commands, batch.len());
    }
    requests
}

/// The fields of an update as texts; what is absent is empty.
struct Fields<'a> {
    at: String,
    status: &'a str,
    pipeline: &'a str,
    error: &'a str,
    progress: String,
}

impl<'a> Fields<'a> {
    fn of(update: &'a Update) -> Self {
        Self {
            at: update.at.unwrap().0.to_string(),
            status: update.status.as_ref().unwrap().as_str(),
            pipeline: update.pipeline.as_ref().unwrap().as_str(),
            error: update.error.as_deref().unwrap_or_default(),
            progress: update.progress.map(|progress| progress.to_string()).unwrap_or_default(),
        }
    }

    fn words(&self) -> [&str; 5] {
        [&self.at, self.status, self.pipeline, self.error, &self.progress]
    }
}

/// A command as Redis reads it: an array of strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
    text.into_bytes()
}

/// The number in a reply like `:12`.
fn integer(reply: &str) -> usize {
    reply.trim().trim_start_matches(':').parse().unwrap()
}
