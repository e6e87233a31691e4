//! A small client of the HTTP API, for the command line and for tests.
//!
//! One method for each call, typed by the shapes of [`api`](crate::api). A call is never retried
//! here: [`ClientError`] says whether it is worth another try, the caller knows whether a second
//! one could count twice, and [`Backoff`] says how long to wait. Only a [`Watch`] goes on by
//! itself, because it knows where it was. Plain HTTP only.

mod backoff;
mod error;
mod exchange;
mod query;
mod sse;
mod watch;

pub use backoff::{Backoff, chance};
pub use error::{ClientError, Problem};
pub use query::{FeedQuery, ListQuery, PruneQuery};
pub use watch::{Watch, WatchOptions, Watched};

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Url};

use crate::api::{
    AnswerBody, BACKUP_MEDIA_TYPE, CheckBody, CountsBody, ExpectBody, FeedBody, FlushBody,
    HealthBody, HistoryBody, IdText, JobBody, ListBody, LookupBody, LookupRequestBody,
    PipelineBody, PipelinesBody, PruneBody, QueuedBody, StatsBody, TimelineBody, UpdateBody,
};
use crate::model::TimestampMs;
use exchange::{Exchange, Stream};
use query::{Pairs, duration, given};

/// Longest wait for an answer; a durable write may wait for a slow disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A check reads the whole store.
const CHECK_TIMEOUT: Duration = Duration::from_hours(4);

/// Talks to one server. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    exchange: Exchange,
}

/// The answer to a durable write.
#[derive(Clone, Debug)]
pub struct Sent {
    pub answer: AnswerBody<'static>,
    /// True if this is the first answer to the same call, made before with the same key.
    pub replayed: bool,
}

/// A page of the feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    pub body: FeedBody<'static>,
    /// The store that its seqs count in, if the server says it.
    pub store_id: Option<String>,
}

/// The answer to a write that may be durable or queued.
#[derive(Clone, Debug)]
pub enum Acknowledged {
    Durable(AnswerBody<'static>),
    Queued(QueuedBody<'static>),
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:7411`. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]: not an `http` URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { exchange: Exchange::new(url)? })
    }

    /// The address of the server, as it was understood.
    pub fn url(&self) -> &Url {
        self.exchange.url()
    }

    /// Sends updates, one JSON object a line, and waits until they are durable. With `key`, a
    /// second call of the same body returns the first answer and counts nothing twice. That every
    /// update was rejected is an answer too.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn updates(&self, ndjson: Vec<u8>, key: Option<&str>) -> Result<Sent, ClientError> {
        let call = self.exchange.call(Method::POST, &["v1", "updates"], &[]);
        let call = keyed(call, key).header("content-type", "application/x-ndjson").body(ndjson);
        match self.exchange.answer(call.timeout(ANSWER_TIMEOUT)).await {
            Ok(answered) => Ok(Sent { replayed: answered.is_replayed(), answer: answered.json()? }),
            Err(ClientError::Problem(mut problem)) => match problem.body.answer.take() {
                Some(answer) => Ok(Sent { replayed: problem.replayed, answer }),
                None => Err(ClientError::Problem(problem)),
            },
            Err(error) => Err(error),
        }
    }

    /// Sends one update; with `queued`, returns once it is admitted, before it is durable.
    ///
    /// # Errors
    /// [`ClientError`]; a refused update is a problem with the code of the rejection.
    pub async fn put_job(
        &self,
        update: &UpdateBody<'_>,
        queued: bool,
    ) -> Result<Acknowledged, ClientError> {
        let query = if queued { vec![("ack", "queued".to_owned())] } else { Vec::new() };
        let call = self.exchange.call(Method::PUT, &["v1", "jobs", &update.job_id], &query);
        let answered = self.exchange.answer(call.json(update).timeout(ANSWER_TIMEOUT)).await?;
        Ok(match answered.is_accepted() {
            true => Acknowledged::Queued(answered.json()?),
            false => Acknowledged::Durable(answered.json()?),
        })
    }

    /// The record of a job.
    ///
    /// # Errors
    /// [`ClientError`]; a job that does not exist is a problem with the code `unknown_job`.
    pub async fn job(&self, job_id: &str) -> Result<JobBody<'static>, ClientError> {
        self.get(&["v1", "jobs", job_id], Pairs::new()).await
    }

    /// The last transitions of a job.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn history(&self, job_id: &str) -> Result<HistoryBody<'static>, ClientError> {
        self.get(&["v1", "jobs", job_id, "history"], Pairs::new()).await
    }

    /// Removes a job. With `key`, a second call returns the first answer.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn delete_job(
        &self,
        job_id: &str,
        key: Option<&str>,
    ) -> Result<AnswerBody<'static>, ClientError> {
        let call = self.exchange.call(Method::DELETE, &["v1", "jobs", job_id], &[]);
        let call = keyed(call, key).timeout(ANSWER_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }

    /// Many jobs by their ids, at most 1,000.
    ///
    /// # Errors
    /// [`ClientError`]; a job that does not exist is in the answer, not here.
    pub async fn lookup(&self, job_ids: Vec<String>) -> Result<LookupBody<'static>, ClientError> {
        let body = LookupRequestBody { job_ids: job_ids.into_iter().map(IdText).collect() };
        let call = self.exchange.call(Method::POST, &["v1", "lookup"], &[]).json(&body);
        self.exchange.answer(call.timeout(ANSWER_TIMEOUT)).await?.json()
    }

    /// One page of a list.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn list(&self, query: &ListQuery) -> Result<ListBody<'static>, ClientError> {
        self.get(&["v1", "jobs"], query.pairs()).await
    }

    /// The pipelines after the name `after`, by name; the server's page.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn pipelines(
        &self,
        after: Option<&str>,
    ) -> Result<PipelinesBody<'static>, ClientError> {
        let after = after.map(str::to_owned);
        self.get(&["v1", "pipelines"], given([("after", after)])).await
    }

    /// How far one pipeline is.
    ///
    /// # Errors
    /// [`ClientError`]; one that does not exist is a problem with the code `unknown_pipeline`.
    pub async fn pipeline(&self, name: &str) -> Result<PipelineBody<'static>, ClientError> {
        self.get(&["v1", "pipelines", name], Pairs::new()).await
    }

    /// Says how many jobs of a pipeline will finish; `None`: nobody knows any more. With `key`, a
    /// second call returns the first answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn expect(
        &self,
        pipeline: &str,
        total: Option<u64>,
        key: Option<&str>,
    ) -> Result<AnswerBody<'static>, ClientError> {
        let call = self.exchange.call(Method::PUT, &["v1", "pipelines", pipeline], &[]);
        let call = keyed(call, key).json(&ExpectBody { expected_total: total });
        self.exchange.answer(call.timeout(ANSWER_TIMEOUT)).await?.json()
    }

    /// Updates per interval and status, from `from` until before `to`; the server chooses what is
    /// `None`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn timeline(
        &self,
        from: Option<TimestampMs>,
        to: Option<TimestampMs>,
        step: Option<Duration>,
        pipeline: Option<&str>,
    ) -> Result<TimelineBody<'static>, ClientError> {
        let pairs = given([
            ("from", from.map(|at| at.to_string())),
            ("to", to.map(|at| at.to_string())),
            ("step", step.map(duration)),
            ("pipeline", pipeline.map(str::to_owned)),
        ]);
        self.get(&["v1", "timeline"], pairs).await
    }

    /// The next entries of the feed after the seq `after`; `None`: after the last durable one.
    /// If there are none yet, waits for `wait`. See [`watch`](Self::watch) for more than a page.
    ///
    /// # Errors
    /// [`ClientError`]; a place that the feed does not hold is a problem with the code `gone`.
    pub async fn feed(
        &self,
        query: &FeedQuery,
        after: Option<u64>,
        limit: Option<usize>,
        wait: Option<Duration>,
    ) -> Result<FeedPage, ClientError> {
        let mut pairs = query.pairs();
        pairs.extend(given([
            ("after", after.map(|seq| seq.to_string())),
            ("limit", limit.map(|limit| limit.to_string())),
            ("wait", wait.map(duration)),
            ("format", Some("json".to_owned())),
        ]));
        let call = self.exchange.call(Method::GET, &["v1", "updates"], &pairs);
        let call = call.timeout(ANSWER_TIMEOUT.saturating_add(wait.unwrap_or_default()));
        let answered = self.exchange.answer(call).await?;
        let store_id = answered.store_id().map(str::to_owned);
        Ok(FeedPage { body: answered.json()?, store_id })
    }

    /// Notes in `known` the store that a page is of; for those who put pages together.
    ///
    /// # Errors
    /// [`ClientError::OtherStore`]: the pages before were of another one.
    pub fn same_store(
        &self,
        known: &mut Option<String>,
        page: &FeedPage,
    ) -> Result<(), ClientError> {
        self.exchange.same_store(known, page.store_id.as_deref())
    }

    /// Reads the feed from the seq `after` on (`None`: from now on), without an end.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), if the first connection fails.
    pub async fn watch(
        &self,
        query: FeedQuery,
        after: Option<u64>,
        options: WatchOptions,
    ) -> Result<Watch, ClientError> {
        Watch::start(self, query, after, options).await
    }

    /// How many jobs there are, by status, kind and pipeline.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn counts(&self) -> Result<CountsBody<'static>, ClientError> {
        self.get(&["v1", "counts"], Pairs::new()).await
    }

    /// The numbers of the server since its start.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn stats(&self) -> Result<StatsBody, ClientError> {
        self.get(&["v1", "stats"], Pairs::new()).await
    }

    /// Waits until everything that was accepted before is durable.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn flush(&self) -> Result<FlushBody, ClientError> {
        let call = self.exchange.call(Method::POST, &["v1", "flush"], &[]).timeout(ANSWER_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }

    /// Removes jobs, or counts them, for which the whole store may be read. May be sent again.
    ///
    /// # Errors
    /// [`ClientError`]: some may have been removed.
    pub async fn prune(&self, query: &PruneQuery, dry_run: bool) -> Result<PruneBody, ClientError> {
        let mut pairs = query.pairs();
        pairs.push(("dry_run", dry_run.to_string()));
        let call = self.exchange.call(Method::POST, &["v1", "prune"], &pairs);
        let timeout = if dry_run { CHECK_TIMEOUT } else { ANSWER_TIMEOUT };
        self.exchange.answer(call.timeout(timeout)).await?.json()
    }

    /// Compares everything in the store with everything; may take minutes.
    ///
    /// # Errors
    /// [`ClientError`]; damage that was found is in the answer, not here.
    pub async fn check(&self) -> Result<CheckBody, ClientError> {
        let call = self.exchange.call(Method::GET, &["v1", "check"], &[]).timeout(CHECK_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }

    /// Begins to take a backup. It is copied at the server before the first piece comes.
    ///
    /// # Errors
    /// [`ClientError`]; while another backup is on its way, a problem with the code
    /// `backup_running`.
    pub async fn backup(&self) -> Result<Download, ClientError> {
        let call = self.exchange.call(Method::GET, &["v1", "backup"], &[]);
        Ok(Download(self.exchange.stream(call, BACKUP_MEDIA_TYPE).await?))
    }

    /// Whether the server can do its work.
    ///
    /// # Errors
    /// [`ClientError`]; a server that opens, stops or failed is a problem.
    pub async fn ready(&self) -> Result<HealthBody, ClientError> {
        self.get(&["readyz"], Pairs::new()).await
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: Pairs,
    ) -> Result<T, ClientError> {
        let call = self.exchange.call(Method::GET, path, &query).timeout(ANSWER_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }
}

/// A file that comes from the server piece by piece.
#[derive(Debug)]
pub struct Download(Stream);

impl Download {
    /// The length of the file, in bytes, if the server says it.
    pub fn length(&self) -> Option<u64> {
        self.0.length()
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`]: the connection broke before the end.
    pub async fn piece(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        self.0.next().await
    }
}

fn keyed(call: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => call.header("idempotency-key", key),
        None => call,
    }
}
