use super::*;
use crate::model::{IdempotencyKey, UpdateFields};

const NOW: TimestampMs = TimestampMs(1_764_000_000_000);

fn status(job_id: &str, status: &str) -> Update {
    Update::status(job_id, status).unwrap()
}

fn heartbeat(job_id: &str, progress: f64) -> Update {
    let fields = UpdateFields { job_id, progress: Some(progress), ..UpdateFields::default() };
    Update::new(fields).unwrap()
}

fn demanding(job_id: &str, status: &str, if_status: &str) -> Update {
    let fields = UpdateFields {
        job_id,
        status: Some(status),
        if_status: Some(if_status),
        ..UpdateFields::default()
    };
    Update::new(fields).unwrap()
}

fn decided(requests: &[Request]) -> Decided {
    bounded(requests, 10, 10)
}

fn bounded(requests: &[Request], pipelines_max: usize, statuses_max: usize) -> Decided {
    let (kinds, counts) = (Kinds::default(), Counts::default());
    let ground = Ground {
        kinds: &kinds,
        counts: &counts,
        expectations: &Expectations::default(),
        pipelines_max,
        statuses_max,
        last_seq: 100,
        now: NOW,
        updated_at: NOW,
    };
    decide(requests, &ground, |_| Ok(None)).unwrap()
}

/// The record of a job that the batch changed.
fn record(decided: &Decided, job_id: &str) -> Option<Arc<JobRecord>> {
    let mut records = decided.records(NOW).into_iter();
    records.find(|(id, _)| id.as_str() == job_id).expect("the batch changed the job").1
}

#[test]
fn heartbeats_of_a_job_merge_within_a_batch_and_across_its_requests() {
    let decided = decided(&[
        Request::new(vec![status("a", "processing"), heartbeat("a", 0.1), heartbeat("b", 0.1)]),
        Request::new(vec![heartbeat("a", 0.2)]),
        Request::new(vec![heartbeat("a", 0.3), status("a", "completed"), heartbeat("a", 1.0)]),
    ]);
    let seqs: Vec<_> = decided.operations.iter().map(Operation::seq).collect();
    assert_eq!(seqs, [101, 102, 103, 104]);
    let told: Vec<_> =
        decided.answers.iter().map(|it| (it.applied, it.merged, it.rejected, it.seqs)).collect();
    assert_eq!(told, [(1, 1, 1, Some((101, 101))), (0, 1, 0, None), (3, 0, 0, Some((102, 104)))]);
    let record = record(&decided, "a").unwrap();
    assert_eq!((record.progress, record.seq, record.transition_count), (Some(1.0), 104, 2));
    assert_eq!(record.transitions[1].seq, 103);
}

#[test]
fn a_merged_heartbeat_leaves_its_fields_behind() {
    let fields = UpdateFields { job_id: "a", message: Some("m"), ..UpdateFields::default() };
    let told = Update::new(fields).unwrap();
    let decided =
        decided(&[Request::new(vec![status("a", "processing"), told, heartbeat("a", 0.5)])]);
    let record = record(&decided, "a").unwrap();
    assert_eq!((record.message.as_deref(), record.progress), (Some("m"), Some(0.5)));
    assert_eq!(decided.operations.len(), 2);
}

#[test]
fn of_two_claimants_exactly_one_wins() {
    let decided = decided(&[
        Request::new(vec![status("a", "queued")]),
        Request::new(vec![demanding("a", "processing", "queued")]),
        Request::new(vec![demanding("a", "processing", "queued")]),
    ]);
    assert_eq!(decided.answers[1].applied, 1);
    assert_eq!(decided.answers[2].rejected, 1);
    assert_eq!(decided.answers[2].errors[0].code, RejectionCode::StatusConflict);
}

#[test]
fn an_atomic_request_is_kept_whole_or_dropped_whole() {
    let atomic = |updates| Request { atomic: true, ..Request::new(updates) };
    let decided = decided(&[
        Request::new(vec![status("a", "queued")]),
        atomic(vec![status("a", "processing"), status("b", "queued"), heartbeat("c", 0.5)]),
        atomic(vec![status("a", "completed"), status("d", "queued")]),
    ]);
    assert_eq!(decided.answers[1].rejected, 3);
    assert_eq!(decided.answers[1].errors[0].code, RejectionCode::AtomicNeighbour);
    assert_eq!(decided.answers[1].errors[2].code, RejectionCode::UnknownJob);
    assert_eq!(decided.answers[2].seqs, Some((102, 103)));
    assert_eq!(record(&decided, "a").unwrap().transition_count, 2);
    assert!(!decided.jobs.iter().any(|(id, _)| id.as_str() == "b"));
}

#[test]
fn a_refused_atomic_request_does_not_bring_back_what_the_batch_removed() {
    let job_id = JobId::parse("a").unwrap();
    let atomic = Request { atomic: true, ..Request::new(vec![heartbeat("a", 0.5)]) };
    let removal = Request::of_command(crate::model::Command::Remove(job_id.clone()));
    let requests = [removal, atomic, Request::new(vec![heartbeat("a", 0.5)])];
    let (kinds, counts) = (Kinds::default(), Counts::default());
    let ground = Ground {
        kinds: &kinds,
        counts: &counts,
        expectations: &Expectations::default(),
        pipelines_max: 10,
        statuses_max: 10,
        last_seq: 100,
        now: NOW,
        updated_at: NOW,
    };
    let first = decided(&[Request::new(vec![status("a", "queued")])]);
    let before = record(&first, job_id.as_str());
    let decided = decide(&requests, &ground, |_| Ok(before.clone())).unwrap();
    assert_eq!(decided.answers.iter().map(|it| it.applied).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(record(&decided, job_id.as_str()), None);
}

#[test]
fn one_pipeline_or_status_more_than_the_bound_is_rejected_alone() {
    let decided = bounded(
        &[Request::new(vec![status("a", "s1"), status("b", "s2"), status("c", "s3")])],
        10,
        2,
    );
    assert_eq!(decided.answers[0].applied, 2);
    assert_eq!(decided.answers[0].errors[0].code, RejectionCode::TooManyStatuses);
}

#[test]
fn a_kept_answer_is_what_the_first_caller_was_told() {
    let request = Request {
        ack: Ack::Queued,
        idempotency: IdempotencyKey::new("k", [7; 32]),
        ..Request::new(vec![status("a", "queued"), heartbeat("b", 0.1)])
    };
    let decided = decided(&[request]);
    assert_eq!(decided.answers[0].rejected, 1);
    let (key, kept) = &decided.keys[0];
    assert_eq!((&**key, kept.fingerprint), ("k", [7; 32]));
    assert_eq!((kept.answer.accepted, kept.answer.durable), (2, false));
}

#[test]
fn names_of_refused_updates_use_up_no_bound() {
    let named = |job_id, pipeline, status| {
        let fields = UpdateFields {
            job_id,
            pipeline: Some(pipeline),
            status: Some(status),
            ..UpdateFields::default()
        };
        Update::new(fields).unwrap()
    };
    let atomic = Request {
        atomic: true,
        ..Request::new(vec![named("a", "gone", "queued"), heartbeat("unknown", 0.5)])
    };
    let plain = Request::new(vec![named("b", "kept", "queued"), named("c", "kept", "error")]);
    let decided = bounded(&[atomic, plain], 1, 1);
    assert_eq!(decided.answers[0].rejected, 2);
    assert_eq!(decided.answers[1].applied, 1);
    assert_eq!(decided.answers[1].errors[0].code, RejectionCode::TooManyStatuses);
}

#[test]
fn a_heartbeat_that_names_its_pipeline_is_not_merged() {
    let fields = UpdateFields { job_id: "a", pipeline: Some("default"), ..UpdateFields::default() };
    let naming = Update::new(fields).unwrap();
    let updates = vec![status("a", "processing"), heartbeat("a", 0.1), naming, heartbeat("a", 0.2)];
    let decided = decided(&[Request::new(updates)]);
    assert_eq!((decided.answers[0].applied, decided.answers[0].merged), (4, 0));
}

#[test]
fn only_a_job_that_is_as_it_was_seen_is_removed_and_the_others_are_no_error() {
    let jobs = ["a", "b", "c", "d"].map(|name| status(name, "completed"));
    let first = decided(&[Request::new(jobs.to_vec())]);
    let seen = |name: &str, seq| (JobId::parse(name).unwrap(), seq);
    // `b` changes in the same batch, `c` did before, `d` is damaged, `e` is gone.
    let seen = [seen("a", 101), seen("b", 102), seen("c", 99), seen("d", 104), seen("e", 105)];
    let removal = Request::of_command(crate::model::Command::RemoveUnchanged(seen.to_vec()));
    assert_eq!(removal.operations(), 5);
    let requests = [Request::new(vec![status("b", "processing")]), removal];
    let (kinds, counts) = (Kinds::default(), Counts::default());
    let ground = Ground {
        kinds: &kinds,
        counts: &counts,
        expectations: &Expectations::default(),
        pipelines_max: 10,
        statuses_max: 10,
        last_seq: 104,
        now: NOW,
        updated_at: NOW,
    };
    let records = first.records(NOW);
    let decided = decide(&requests, &ground, |job_id| match job_id.as_str() {
        "d" => Err(StoreError::CorruptRecord {
            table: "records",
            key: "d".into(),
            what: "a bit".into(),
        }),
        name => Ok(records.iter().find(|it| it.0.as_str() == name).and_then(|it| it.1.clone())),
    });
    let decided = decided.unwrap();
    let answers: Vec<_> = decided.answers.iter().map(|it| (it.applied, it.rejected)).collect();
    assert_eq!(answers, [(1, 0), (1, 0)]);
    assert_eq!(record(&decided, "a"), None);
    assert_eq!(record(&decided, "b").unwrap().status.as_str(), "processing");
    assert_eq!(decided.answers[1].seqs, Some((106, 106)));
    assert_eq!(decided.jobs.len(), 2, "nothing else was touched");
}
