//! What a reader may rely on: what was acknowledged is there, and while others write, counts add up
//! and walks have no doubles.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::http::Http;

/// Ids of one lookup (DESIGN, section 7).
const LOOKUP_MAX: usize = 1_000;

/// Those of the jobs that were acknowledged with a status, and are not there, or not as they were.
pub fn lost<'a>(
    http: &Http,
    acknowledged: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<String> {
    let acknowledged: Vec<(&str, &str)> = acknowledged.into_iter().collect();
    let mut lost = Vec::new();
    for part in acknowledged.chunks(LOOKUP_MAX) {
        let job_ids: Vec<&str> = part.iter().map(|(job_id, _)| *job_id).collect();
        let answer = http.post("/v1/lookup", &json!({ "job_ids": job_ids }).to_string()).ok();
        let found = answer["found"].as_array().unwrap();
        let found: HashMap<&str, &str> = found
            .iter()
            .map(|job| (job["job_id"].as_str().unwrap(), job["status"].as_str().unwrap()))
            .collect();
        let is_lost = |(job_id, status): &&(&str, &str)| found.get(job_id) != Some(status);
        lost.extend(part.iter().filter(is_lost).map(|(job_id, _)| (*job_id).to_owned()));
    }
    lost
}

/// The pages of one walk, as far as they came.
#[derive(Default)]
struct Walk {
    jobs: HashMap<String, Value>,
    as_of_seq: Option<u64>,
}

impl Walk {
    /// Takes the next page; what is wrong with it.
    fn take(&mut self, page: &Value) -> Result<(), String> {
        let reflects = page["as_of_seq"].as_u64().ok_or("a list says what it reflects")?;
        if *self.as_of_seq.get_or_insert(reflects) != reflects {
            return Err(format!("a walk has one as_of_seq, not also {reflects}"));
        }
        for job in page["jobs"].as_array().ok_or("a list has jobs")? {
            let job_id = job["job_id"].as_str().ok_or("a job has an id")?.to_owned();
            if job["seq"].as_u64().is_none_or(|seq| seq > reflects) {
                return Err(format!("{job} is newer than the walk"));
            }
            if self.jobs.insert(job_id, job.clone()).is_some() {
                return Err(format!("the walk shows a job twice: {job}"));
            }
        }
        Ok(())
    }
}

/// Every job of a whole walk of `GET /v1/jobs` by cursor.
///
/// Asserts that no job appears twice and that all pages reflect the same last update.
pub fn walk(http: &Http, limit: usize) -> HashMap<String, Value> {
    let mut walk = Walk::default();
    let mut cursor = String::new();
    loop {
        let page = http.get(&format!("/v1/jobs?limit={limit}{cursor}")).ok();
        walk.take(&page).unwrap_or_else(|wrong| panic!("{wrong}"));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return walk.jobs,
        }
    }
}

/// `GET /v1/counts`, after asserting that its parts add up to its total.
pub fn counts(http: &Http) -> Value {
    let counts = http.get("/v1/counts").ok();
    assert!(adds_up(&counts), "{counts}");
    counts
}

fn adds_up(counts: &Value) -> bool {
    let total = counts["total"].as_u64().unwrap();
    let pipelines = counts["by_pipeline"].as_object().unwrap();
    let mut in_pipelines = 0;
    let are_whole = pipelines.values().all(|pipeline| {
        let of_one = sum(&pipeline["by_status"]);
        in_pipelines += of_one;
        pipeline["total"] == of_one
    });
    let by_word = [&counts["by_status"], &counts["by_kind"]].map(sum);
    are_whole && by_word == [total, total] && in_pipelines == total
}

fn sum(jobs_by_word: &Value) -> u64 {
    jobs_by_word.as_object().unwrap().values().map(|jobs| jobs.as_u64().unwrap()).sum()
}

/// The controls: pages and counts of which one fact is wrong.
#[test]
fn a_walk_or_a_sum_with_one_wrong_fact_is_found() {
    let job = |job_id: &str, seq: u64| json!({"job_id": job_id, "seq": seq});
    let page = |as_of_seq: u64, jobs: &[Value]| json!({"as_of_seq": as_of_seq, "jobs": jobs});
    let of = |second: &Value| {
        let mut walk = Walk::default();
        walk.take(&page(9, &[job("a", 1), job("b", 9)]))?;
        walk.take(second)
    };
    assert_eq!(of(&page(9, &[job("c", 3)])), Ok(()));
    let wrong = [page(9, &[job("a", 1)]), page(9, &[job("c", 10)]), page(10, &[job("c", 3)])];
    for (page, hint) in wrong.iter().zip(["twice", "newer", "one as_of_seq"]) {
        assert!(of(page).is_err_and(|wrong| wrong.contains(hint)), "{page}");
    }
    let right = json!({"total": 3, "by_status": {"queued": 2, "error": 1},
        "by_kind": {"waiting": 2, "failed": 1},
        "by_pipeline": {"a": {"total": 2, "by_status": {"queued": 2}},
            "b": {"total": 1, "by_status": {"error": 1}}}});
    assert!(adds_up(&right));
    let places = [
        "/total",
        "/by_status/error",
        "/by_kind/failed",
        "/by_pipeline/b/total",
        "/by_pipeline/a/by_status/queued",
    ];
    for place in places {
        let mut wrong = right.clone();
        *wrong.pointer_mut(place).unwrap() = json!(7);
        assert!(!adds_up(&wrong), "{place}");
    }
}
