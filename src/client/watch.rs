//! The feed, read for as long as one likes, over broken connections and restarts of the server.
//!
//! ```text
//!            start             piece, event
//!   (caller) -----> connected ------------> connected
//!                     |   ^
//!   cut, silent, ended|   | connected again, after what was seen last
//!                     v   |
//!                   waiting, ever longer --> error: gone, refused, or tried for too long
//! ```
//!
//! An outage is over when an entry or an id comes, or when a connection has lasted a while: one
//! that is cut as soon as it is made belongs to the same outage, and the waits go on to grow.
//!
//! Every entry that passes the filter comes once and in order. That is safe because the place to
//! resume from is known before the first connection: a watch "from now on" asks for the last
//! durable seq first. Ids without data move the place too, so that a filter that lets nothing
//! through does not leave it behind what the feed holds.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use super::Client;
use super::backoff::{Backoff, chance};
use super::error::{ClientError, Problem};
use super::exchange::{Exchange, Stream};
use super::query::{FeedQuery, given};
use super::sse::{Event, EventReader};
use crate::api::{FeedEntryBody, ProblemBody};

const EVENTS: &str = "text/event-stream";
/// A connection that lasts so long is one, though nothing came yet: as long as the longest wait
/// between two tries, so that a server which cuts each one is not called more often than that.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// How patient a watch is.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// A stream on which nothing comes for so long is broken; the server sends a heartbeat every
    /// 15 s.
    pub silence_max: Duration,
    /// How long to try to connect again.
    pub retry_for: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { silence_max: Duration::from_secs(45), retry_for: Duration::MAX }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Watched {
    Entry(Box<FeedEntryBody<'static>>),
    /// The connection is gone, for this reason; it is tried again. Said once for each outage.
    Lost(ClientError),
    /// There is a connection again, one that lasts, and nothing was missed.
    Regained,
}

/// A feed without an end.
#[derive(Debug)]
pub struct Watch {
    exchange: Exchange,
    query: FeedQuery,
    options: WatchOptions,
    /// Everything up to it was seen, or did not pass the filter.
    after: u64,
    /// The store that `after` is a place in, once a server has said it.
    store_id: Option<String>,
    link: Link,
    /// Read, and not yet looked at.
    events: VecDeque<Event>,
    /// Since the stream broke, until one is steady again: a connection that is cut as soon as it is
    /// made, greeted or not, must not be made in a tight loop.
    outage: Option<Outage>,
}

#[derive(Debug)]
enum Link {
    Up(Box<Open>),
    Down { retry_at: Instant },
}

#[derive(Debug)]
struct Open {
    stream: Stream,
    reader: EventReader,
    opened_at: Instant,
    heard_at: Instant,
}

/// What a look at the stream gave.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Something,
    /// Nothing yet, but the connection has lasted.
    Steady,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    backoff: Backoff,
}

impl Watch {
    /// Connects, after the seq `after`, or after the last durable one.
    pub(super) async fn start(
        client: &Client,
        query: FeedQuery,
        after: Option<u64>,
        options: WatchOptions,
    ) -> Result<Self, ClientError> {
        let (after, store_id) = match after {
            Some(seq) => (seq, None),
            None => {
                let all = FeedQuery::default();
                let page = client.feed(&all, None, Some(1), None).await?;
                (page.body.as_of_seq, page.store_id)
            }
        };
        let mut watch = Self {
            exchange: client.exchange.clone(),
            query,
            options,
            after,
            store_id,
            link: Link::Down { retry_at: Instant::now() },
            events: VecDeque::new(),
            outage: None,
        };
        watch.link = watch.connect().await?;
        Ok(watch)
    }

    /// The seq up to which everything was seen: another watch after it misses nothing.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Waits for the next thing. Loses nothing if it is dropped before it is ready.
    ///
    /// # Errors
    /// [`ClientError`]: the watch is over. A place that the feed no longer holds is a problem with
    /// the code `gone`, which says what it holds; in another store it would be another place.
    pub async fn next(&mut self) -> Result<Watched, ClientError> {
        loop {
            let is_news = self.events.front().is_some_and(|event| event.id.is_some());
            if is_news && self.outage.take().is_some() {
                return Ok(Watched::Regained);
            }
            if let Some(event) = self.events.pop_front() {
                match self.take(event)? {
                    Some(entry) => return Ok(Watched::Entry(Box::new(entry))),
                    None => continue,
                }
            }
            let retry_at = match self.link {
                Link::Up(_) => match self.read().await {
                    Ok(Heard::Something) => continue,
                    Ok(Heard::Steady) => {
                        self.outage = None;
                        return Ok(Watched::Regained);
                    }
                    Err(error) => {
                        let is_new = self.outage.is_none();
                        let error = self.lose(error)?;
                        if is_new {
                            return Ok(Watched::Lost(error));
                        }
                        continue;
                    }
                },
                Link::Down { retry_at } => retry_at,
            };
            tokio::time::sleep_until(retry_at).await;
            match self.connect().await {
                Ok(link) => self.link = link,
                Err(error) => drop(self.lose(error)?),
            }
        }
    }

    async fn connect(&mut self) -> Result<Link, ClientError> {
        let mut pairs = self.query.pairs();
        let after = self.after.to_string();
        pairs.extend(given([("after", Some(after)), ("format", Some("sse".to_owned()))]));
        let call = self.exchange.call(Method::GET, &["v1", "updates"], &pairs);
        let connecting = self.exchange.stream(call.header("accept", EVENTS), EVENTS);
        let stream = tokio::time::timeout(self.options.silence_max, connecting).await;
        let stream =
            stream.unwrap_or_else(|_| Err(self.exchange.unavailable("it took too long")))?;
        self.exchange.same_store(&mut self.store_id, stream.store_id())?;
        let (reader, now) = (EventReader::default(), Instant::now());
        let open = Open { stream, reader, opened_at: now, heard_at: now };
        Ok(Link::Up(Box::new(open)))
    }

    /// Reads one piece of the stream.
    async fn read(&mut self) -> Result<Heard, ClientError> {
        let Link::Up(open) = &mut self.link else { return Ok(Heard::Something) };
        let Open { stream, reader, opened_at, heard_at } = &mut **open;
        let silence_max = self.options.silence_max;
        let (broken_at, steady_at) = (*heard_at + silence_max, *opened_at + STEADY_AFTER);
        let is_probation = self.outage.is_some() && steady_at < broken_at;
        let until = if is_probation { steady_at } else { broken_at };
        let Ok(piece) = tokio::time::timeout_at(until, stream.piece()).await else {
            if is_probation {
                return Ok(Heard::Steady);
            }
            let why = format!("nothing came for {} s", silence_max.as_secs_f64());
            return Err(self.exchange.unavailable(why));
        };
        let piece = piece?;
        *heard_at = Instant::now();
        let pushed = reader.push(piece.as_ref(), &mut self.events);
        pushed.map_err(|error| self.exchange.foreign(&error.to_string()))?;
        Ok(Heard::Something)
    }

    /// Gives the connection up for `error`, which comes back: as an error if no further try mends
    /// it, or if it was tried for too long.
    fn lose(&mut self, error: ClientError) -> Result<ClientError, ClientError> {
        let now = Instant::now();
        let retry_for = self.options.retry_for;
        let outage = self
            .outage
            .get_or_insert_with(|| Outage { since: now, backoff: Backoff::new(retry_for) });
        let failing_for = now.duration_since(outage.since);
        let wait = outage.backoff.next_wait(failing_for, error.retry_after(), chance());
        self.link = Link::Down { retry_at: now + wait.unwrap_or_default() };
        if error.is_retryable() && wait.is_some() { Ok(error) } else { Err(error) }
    }

    /// The entry of an event, if it has one that is new.
    fn take(&mut self, event: Event) -> Result<Option<FeedEntryBody<'static>>, ClientError> {
        match event.name.as_str() {
            "" | "message" => (),
            "gone" => return Err(self.gone(&event.data)),
            // Of a later version.
            _ => return Ok(None),
        }
        if event.data.is_empty() {
            let seq = event.id.and_then(|id| id.parse().ok()).unwrap_or(0);
            self.after = self.after.max(seq);
            return Ok(None);
        }
        let entry: FeedEntryBody<'static> =
            serde_json::from_str(&event.data).map_err(|_| self.exchange.foreign(&event.data))?;
        if entry.seq <= self.after {
            return Ok(None);
        }
        self.after = entry.seq;
        Ok(Some(entry))
    }

    fn gone(&self, data: &str) -> ClientError {
        match serde_json::from_str::<ProblemBody<'static>>(data) {
            Ok(body) => {
                ClientError::Problem(Box::new(Problem { body, retry_after: None, replayed: false }))
            }
            Err(_) => self.exchange.foreign(data),
        }
    }
}
