//! A small client of the HTTP API, for the command line and for tests.
//!
//! One method for each call, typed by the shapes of [`api`](crate::api). It never retries by
//! itself: [`ClientError`] says whether a call is worth another try, and the caller knows whether
//! a second one could count twice. Plain HTTP only.

mod error;
mod exchange;

pub use error::{ClientError, Problem};

use std::time::Duration;

use reqwest::{Method, Url};

use crate::api::{
    AnswerBody, CheckBody, CountsBody, FlushBody, HealthBody, JobBody, ListBody, QueuedBody,
    StatsBody, UpdateBody,
};
use exchange::Exchange;

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

/// The answer to a write that may be durable or queued.
#[derive(Clone, Debug)]
pub enum Acknowledged {
    Durable(AnswerBody<'static>),
    Queued(QueuedBody<'static>),
}

/// What to list; an empty query lists everything, the last changed first.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Any of these; empty means any.
    pub statuses: Vec<String>,
    pub pipeline: Option<String>,
    /// 1 to 1,000 jobs a page; the server's default if `None`.
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
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
        let mut call = self.exchange.call(Method::POST, &["v1", "updates"], &[]);
        call = call.header("content-type", "application/x-ndjson").body(ndjson);
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
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
        self.get(&["v1", "jobs", job_id]).await
    }

    /// One page of a list.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn list(&self, query: &ListQuery) -> Result<ListBody<'static>, ClientError> {
        let call = self.exchange.call(Method::GET, &["v1", "jobs"], &query.pairs());
        self.exchange.answer(call.timeout(ANSWER_TIMEOUT)).await?.json()
    }

    /// How many jobs there are, by status, kind and pipeline.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn counts(&self) -> Result<CountsBody<'static>, ClientError> {
        self.get(&["v1", "counts"]).await
    }

    /// The numbers of the server since its start.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn stats(&self) -> Result<StatsBody, ClientError> {
        self.get(&["v1", "stats"]).await
    }

    /// Waits until everything that was accepted before is durable.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn flush(&self) -> Result<FlushBody, ClientError> {
        let call = self.exchange.call(Method::POST, &["v1", "flush"], &[]).timeout(ANSWER_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }

    /// Compares everything in the store with everything; may take minutes.
    ///
    /// # Errors
    /// [`ClientError`]; damage that was found is in the answer, not here.
    pub async fn check(&self) -> Result<CheckBody, ClientError> {
        let call = self.exchange.call(Method::GET, &["v1", "check"], &[]).timeout(CHECK_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }

    /// Whether the server can do its work.
    ///
    /// # Errors
    /// [`ClientError`]; a server that opens, stops or failed is a problem.
    pub async fn ready(&self) -> Result<HealthBody, ClientError> {
        self.get(&["readyz"]).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        let call = self.exchange.call(Method::GET, path, &[]).timeout(ANSWER_TIMEOUT);
        self.exchange.answer(call).await?.json()
    }
}

impl ListQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let statuses = (!self.statuses.is_empty()).then(|| self.statuses.join(","));
        let pairs = [
            ("status", statuses),
            ("pipeline", self.pipeline.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        pairs.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}
