//! Runs the scripts in `src/store/scripts` on both stores.
//!
//! A script is blocks of commands, each followed by `---` and the expected output:
//!
//! ```text
//! update a status=queued at=5       adds an update to the request; `request` begins another
//! remove a | expect p 3              adds a request of one command
//! commit                            appends the batch; prints an answer per request
//! get a | list | counts | feed | expected | timeline hours p
//!                                   print what readers see
//! fold | reopen | crash             do nothing to the oracle
//! ```
//!
//! `JOBSLATE_WRITE_SCRIPTS=1` writes what the oracle answers into the files, for review.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{NOW, Subject};
use crate::model::{
    Answer, Command, Expected, JobId, JobRecord, Kind, Operation, Order, PageQuery, PipelineName,
    Place, Request, Resolution, Status, TimelineQuery, TimestampMs, Update, UpdateFields,
};

/// The state of a running script.
struct Runner {
    subject: Subject,
    batch: Vec<Request>,
    now: u64,
}

impl Runner {
    fn command(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a command has a verb");
        let words: Vec<&str> = words.collect();
        match verb {
            "update" => self.update(&words),
            "request" => self.request(&words),
            "commit" => return self.commit(),
            "remove" => {
                let job_id = JobId::parse(words[0]).expect("an id");
                self.batch.push(Request::of_command(Command::Remove(job_id)));
            }
            "expect" => {
                let pipeline = PipelineName::parse(words[0]).expect("a pipeline");
                let total = words.get(1).map(|it| it.parse().expect("a total"));
                self.batch.push(Request::of_command(Command::Expect { pipeline, total }));
            }
            "expected" => return self.expected(),
            "timeline" => return self.timeline(&words),
            "now" => self.now = NOW + words[0].parse::<u64>().expect("a time"),
            "get" => return self.get(words[0]),
            "list" => return self.list(&words),
            "counts" => return self.counts(),
            "feed" => return self.feed(words.first().map_or(0, |it| it.parse().expect("a seq"))),
            "check" => {
                let report = self.subject.read().check().expect("the check reads");
                assert_eq!(report.problems, Vec::<String>::new());
            }
            "fold" => self.subject.fold(),
            "reopen" => self.subject.reopen(),
            "crash" => self.subject.crash(),
            _ => panic!("unknown command {line:?}"),
        }
        String::new()
    }

    fn request(&mut self, words: &[&str]) {
        let atomic = words.contains(&"atomic");
        self.batch.push(Request { atomic, ..Request::default() });
    }

    fn update(&mut self, words: &[&str]) {
        let mut fields = UpdateFields { job_id: words[0], ..UpdateFields::default() };
        for (name, value) in words[1..].iter().map(|it| it.split_once('=').expect("a field")) {
            match name {
                "status" => fields.status = Some(value),
                "at" => fields.at = Some(TimestampMs(NOW + value.parse::<u64>().expect("a time"))),
                "attempt" => fields.attempt = Some(value.parse().expect("an attempt")),
                "pipeline" => fields.pipeline = Some(value),
                "error" => fields.error = Some(value),
                "message" => fields.message = Some(value),
                "progress" => fields.progress = Some(value.parse().expect("a progress")),
                "if_status" => fields.if_status = Some(value),
                _ => panic!("unknown field {name}"),
            }
        }
        let update = Update::new(fields).expect("the fields are valid");
        if self.batch.is_empty() {
            self.batch.push(Request::default());
        }
        let request = self.batch.last_mut().expect("there is a request");
        let index = u32::try_from(request.updates.len()).expect("a short request");
        request.updates.push((index, update));
    }

    fn commit(&mut self) -> String {
        let batch = std::mem::take(&mut self.batch);
        let appended = self.subject.write().append(&batch, TimestampMs(self.now));
        let appended = appended.expect("the batch is appended");
        appended.answers.iter().map(answer_line).collect()
    }

    fn get(&self, job_id: &str) -> String {
        let id = JobId::parse(job_id).expect("an id");
        match self.subject.read().get(&id).expect("the job is read") {
            None => format!("{job_id}: unknown\n"),
            Some(record) => record_text(job_id, &record),
        }
    }

    fn list(&self, words: &[&str]) -> String {
        let mut query = PageQuery { limit: 1_000, scan_max: 10_000, ..PageQuery::default() };
        let time = |text: &str| Some(TimestampMs(NOW + text.parse::<u64>().expect("a time")));
        for (name, value) in words.iter().map(|it| it.split_once('=').expect("a filter")) {
            match name {
                "status" => query.filter.statuses.push(Status::parse(value).expect("a status")),
                "kind" => query.filter.kinds.push(Kind::parse(value).expect("a kind")),
                "pipeline" => query.filter.pipeline = PipelineName::parse(value).ok(),
                "prefix" => query.filter.prefix = value.to_owned(),
                "from" => query.filter.updated_from = time(value),
                "before" => query.filter.updated_before = time(value),
                "stalled_since" => query.filter.stalled_since = time(value),
                "order" => query.order = order(value),
                "limit" => query.limit = value.parse().expect("a limit"),
                _ => panic!("unknown filter {name}"),
            }
        }
        let page = self.subject.read().page(&query).expect("a page is read");
        let mut text = String::new();
        for (job_id, record) in &page.jobs {
            let _ = writeln!(text, "{job_id} {} seq={}", record.status, record.seq);
        }
        let next = page.next.map_or("none".to_owned(), |next| match next.place {
            Place::Seq(seq) => format!("after update {seq}"),
            Place::Id(job_id) => format!("after job {job_id}"),
        });
        let _ = writeln!(text, "next: {next}, as of {}", page.as_of_seq);
        text
    }

    fn counts(&self) -> String {
        let (counts, as_of_seq) = self.subject.read().counts();
        let mut text = format!("total {}, as of {as_of_seq}\n", counts.total());
        for (pipeline, statuses) in counts.by_pipeline() {
            for (status, jobs) in statuses {
                let _ = writeln!(text, "{pipeline} {status} {jobs}");
            }
        }
        text
    }

    fn expected(&self) -> String {
        let expectations = self.subject.read().expectations();
        let line = |(name, it): (&PipelineName, &Expected)| {
            let seq = it.finished_seq.map_or("open".to_owned(), |seq| format!("finished by {seq}"));
            format!("{name} {} {seq}\n", it.total)
        };
        expectations.by_pipeline().iter().map(line).collect()
    }

    fn timeline(&self, words: &[&str]) -> String {
        let resolution = match words[0] {
            "minutes" => Resolution::Minute,
            "hours" => Resolution::Hour,
            _ => Resolution::Day,
        };
        let pipeline = words.get(1).map(|name| PipelineName::parse(name).expect("a pipeline"));
        let (from, to) = (TimestampMs(0), TimestampMs(1 << 50));
        let query = TimelineQuery { resolution, from, to, step_ms: resolution.step_ms(), pipeline };
        let timeline = self.subject.read().timeline(&query).expect("the timeline is read");
        let mut text = String::new();
        for (step, statuses) in &timeline.steps {
            for (status, it) in statuses {
                let _ = writeln!(text, "{step} {status} updates={} net={:+}", it.updates, it.net);
            }
        }
        let held = timeline.held_from.map_or("nothing".to_owned(), |it| it.to_string());
        let _ = writeln!(text, "held from {held}, as of {}", timeline.as_of_seq);
        text
    }

    fn feed(&self, after: u64) -> String {
        let mut text = String::new();
        let feed = self.subject.read().feed(after, 1_000).expect("the feed is read");
        for operation in feed.operations {
            let Operation::Update(it) = operation else {
                text += &other_line(&operation);
                continue;
            };
            let finishes = if it.finishes_pipeline { " finishes" } else { "" };
            let applied = if it.applied { "" } else { " (stale)" };
            let previous = it.previous.map_or("none".to_owned(), |it| it.to_string());
            let moved = it.previous_pipeline.map_or(String::new(), |it| format!(" from {it}"));
            let _ = writeln!(
                text,
                "{} {} {previous} -> {} in {}{moved} at={} attempt={}{applied}{finishes}",
                it.seq,
                it.job_id,
                it.status,
                it.pipeline,
                it.at.0 - NOW,
                it.attempt,
            );
        }
        text
    }
}

/// What the feed says about anything but an update.
fn other_line(operation: &Operation) -> String {
    match operation {
        Operation::Removal(it) => {
            format!("{} {} {} -> removed from {}\n", it.seq, it.job_id, it.status, it.pipeline)
        }
        Operation::Expectation(it) => {
            let total = it.total.map_or("nothing".to_owned(), |total| total.to_string());
            let finishes = if it.finishes_pipeline { " finishes" } else { "" };
            format!("{} {} expects {total}{finishes}\n", it.seq, it.pipeline)
        }
        Operation::Update(_) => unreachable!("an update has a line of its own"),
    }
}

fn order(name: &str) -> Order {
    match name {
        "newest" => Order::Newest,
        "oldest" => Order::Oldest,
        "id" => Order::Id,
        _ => panic!("unknown order {name}"),
    }
}

fn answer_line(it: &Answer) -> String {
    let seqs = it.seqs.map_or("none".to_owned(), |(first, last)| format!("{first}..{last}"));
    let mut line = format!(
        "accepted={} applied={} stale={} merged={} rejected={} seqs={seqs}\n",
        it.accepted, it.applied, it.stale, it.merged, it.rejected
    );
    for error in &it.errors {
        let job_id = error.job_id.as_deref().unwrap_or("?");
        let (index, code) = (error.index, error.code.as_str());
        let _ = writeln!(line, "  {index} {job_id} {code}: {}", error.detail);
    }
    line
}

fn record_text(job_id: &str, it: &JobRecord) -> String {
    let ms = |at: Option<TimestampMs>| at.map_or("-".to_owned(), |at| (at.0 - NOW).to_string());
    let mut text = format!(
        "{job_id} {} in {} seq={} attempt={} error={:?} message={:?} progress={:?}\n",
        it.status, it.pipeline, it.seq, it.attempt, it.error, it.message, it.progress
    );
    let _ = writeln!(
        text,
        "  created={} status={} seen={} started={} finished={} updated={} transitions={}",
        ms(Some(it.created_at)),
        ms(Some(it.status_at)),
        ms(Some(it.seen_at)),
        ms(it.started_at),
        ms(it.finished_at),
        ms(Some(it.updated_at)),
        it.transition_count,
    );
    text
}

/// Runs a script; gives it back with the output that the subject made.
fn run(script: &str, subject: Subject) -> String {
    let mut runner = Runner { subject, batch: Vec::new(), now: NOW };
    let mut written = String::new();
    let mut output = String::new();
    let mut is_output = false;
    for line in script.lines() {
        match line.trim() {
            "---" => {
                let _ = writeln!(written, "---\n{}", output.trim_end());
                (is_output, output) = (true, String::new());
            }
            "" => {
                let _ = writeln!(written);
                is_output = false;
            }
            _ if is_output => {}
            comment if comment.starts_with('#') => {
                let _ = writeln!(written, "{comment}");
            }
            command => {
                let _ = writeln!(written, "{command}");
                output += &runner.command(command);
            }
        }
    }
    written
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/scripts");
    let files = std::fs::read_dir(folder).expect("the scripts are there");
    let mut files: Vec<_> = files.map(|it| it.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "there are scripts");
    files
}

#[test]
fn scripts_give_the_same_output_on_every_store() {
    let is_written = std::env::var_os("JOBSLATE_WRITE_SCRIPTS").is_some();
    for file in scripts() {
        let script = std::fs::read_to_string(&file).expect("a script");
        let of_oracle = run(&script, Subject::memory());
        if is_written {
            std::fs::write(&file, &of_oracle).expect("the script is written");
        } else {
            assert_eq!(script, of_oracle, "{} on the oracle", file.display());
        }
        let directory = tempfile::tempdir().expect("a directory");
        let of_disk = run(&of_oracle, Subject::disk(directory.path()));
        assert_eq!(of_oracle, of_disk, "{} on disk", file.display());
    }
}
