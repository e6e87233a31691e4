//! What a caller may ask of a list and of the feed, as the pairs of a query.

use std::time::Duration;

use crate::model::{Kind, Order, TimestampMs};

/// What to list; an empty query lists everything, the last changed first.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Any of these; empty means any.
    pub statuses: Vec<String>,
    /// Any of these; empty means any.
    pub kinds: Vec<Kind>,
    pub pipeline: Option<String>,
    /// What the job ids begin with; alone it makes the order that of the ids.
    pub prefix: Option<String>,
    /// Changed at this moment or after it.
    pub updated_after: Option<TimestampMs>,
    /// Changed before this moment.
    pub updated_before: Option<TimestampMs>,
    /// Not finished, and not changed for this long.
    pub stalled_for: Option<Duration>,
    pub order: Option<Order>,
    /// 1 to 1,000 jobs a page; the server's default if `None`.
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// Which jobs a prune removes; at least one part beside the limit must be given.
#[derive(Clone, Debug, Default)]
pub struct PruneQuery {
    /// Any of these; empty means any.
    pub statuses: Vec<String>,
    /// Any of these; empty means any finished one, unless `statuses` names some.
    pub kinds: Vec<Kind>,
    pub pipeline: Option<String>,
    /// Not changed since this moment.
    pub updated_before: Option<TimestampMs>,
    /// Not changed for this long, in time that a server ran.
    pub older_than: Option<Duration>,
    /// So many stay, the last changed ones.
    pub keep: Option<usize>,
    /// Most jobs that one call removes; the server's default if `None`.
    pub limit: Option<u64>,
}

/// Which entries of the feed; an empty query wants all.
#[derive(Clone, Debug, Default)]
pub struct FeedQuery {
    pub job: Option<String>,
    pub pipeline: Option<String>,
    /// Any of these; empty means any.
    pub statuses: Vec<String>,
    /// Any of these; empty means any.
    pub kinds: Vec<Kind>,
}

/// Names and values that are given.
pub(super) type Pairs = Vec<(&'static str, String)>;

impl ListQuery {
    pub(super) fn pairs(&self) -> Pairs {
        given([
            ("status", words(&self.statuses)),
            ("kind", kinds(&self.kinds)),
            ("pipeline", self.pipeline.clone()),
            ("prefix", self.prefix.clone()),
            ("updated_after", self.updated_after.map(|at| at.to_string())),
            ("updated_before", self.updated_before.map(|at| at.to_string())),
            ("stalled_for", self.stalled_for.map(duration)),
            ("order", self.order.map(|order| order.as_str().to_owned())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
        ])
    }
}

impl PruneQuery {
    pub(super) fn pairs(&self) -> Pairs {
        given([
            ("status", words(&self.statuses)),
            ("kind", kinds(&self.kinds)),
            ("pipeline", self.pipeline.clone()),
            ("updated_before", self.updated_before.map(|at| at.to_string())),
            ("older_than", self.older_than.map(duration)),
            ("keep", self.keep.map(|keep| keep.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ])
    }
}

impl FeedQuery {
    pub(super) fn pairs(&self) -> Pairs {
        given([
            ("job", self.job.clone()),
            ("pipeline", self.pipeline.clone()),
            ("status", words(&self.statuses)),
            ("kind", kinds(&self.kinds)),
        ])
    }
}

/// Moments go as RFC 3339: as milliseconds, an early one looks like seconds and is refused.
pub(super) fn given<const N: usize>(pairs: [(&'static str, Option<String>); N]) -> Pairs {
    pairs.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}

/// In milliseconds, which every server reads.
pub(super) fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn words(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(","))
}

fn kinds(kinds: &[Kind]) -> Option<String> {
    let names: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    words(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_asked() {
        assert_eq!(ListQuery::default().pairs(), []);
        let query = ListQuery {
            statuses: vec!["a".into(), "b".into()],
            kinds: vec![Kind::Failed, Kind::Cancelled],
            stalled_for: Some(Duration::from_secs(600)),
            order: Some(Order::Oldest),
            updated_after: Some(TimestampMs(0)),
            ..ListQuery::default()
        };
        let texts = ["a,b", "failed,cancelled", "1970-01-01T00:00:00.000Z", "600000ms", "oldest"];
        let texts = texts.map(str::to_owned);
        let values: Vec<String> = query.pairs().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, texts);
    }
}
