//! What a reader may rely on while others write: counts that add up, and walks without doubles.

use std::collections::HashMap;

use serde_json::Value;

use crate::http::Http;

/// Every job of a whole walk of `GET /v1/jobs` by cursor.
///
/// Asserts that no job appears twice and that all pages reflect the same last update.
pub fn walk(http: &Http, limit: usize) -> HashMap<String, Value> {
    let mut jobs = HashMap::new();
    let mut as_of_seq = None;
    let mut cursor = String::new();
    loop {
        let page = http.get(&format!("/v1/jobs?limit={limit}{cursor}")).ok();
        let reflects = page["as_of_seq"].as_u64().expect("a list says what it reflects");
        assert_eq!(*as_of_seq.get_or_insert(reflects), reflects, "a walk has one as_of_seq");
        for job in page["jobs"].as_array().expect("a list has jobs") {
            let job_id = job["job_id"].as_str().unwrap().to_owned();
            assert!(job["seq"].as_u64().unwrap() <= reflects, "{job} is newer than the walk");
            let double = jobs.insert(job_id, job.clone());
            assert!(double.is_none(), "the walk shows a job twice: {job}");
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return jobs,
        }
    }
}

/// `GET /v1/counts`, after asserting that its parts add up to its total.
pub fn counts(http: &Http) -> Value {
    let counts = http.get("/v1/counts").ok();
    let total = counts["total"].as_u64().unwrap();
    assert_eq!(sum(&counts["by_status"]), total, "{counts}");
    assert_eq!(sum(&counts["by_kind"]), total, "{counts}");
    let pipelines = counts["by_pipeline"].as_object().unwrap();
    let mut in_pipelines = 0;
    for pipeline in pipelines.values() {
        assert_eq!(sum(&pipeline["by_status"]), pipeline["total"].as_u64().unwrap(), "{counts}");
        in_pipelines += sum(&pipeline["by_status"]);
    }
    assert_eq!(in_pipelines, total, "{counts}");
    counts
}

fn sum(jobs_by_word: &Value) -> u64 {
    jobs_by_word.as_object().unwrap().values().map(|jobs| jobs.as_u64().unwrap()).sum()
}
