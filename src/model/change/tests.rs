use super::super::update::UpdateFields;
use super::*;

const NOW: TimestampMs = TimestampMs(1_764_000_000_000);

fn at(ms: u64) -> TimestampMs {
    TimestampMs(NOW.0 + ms)
}

/// Plays updates against one job and returns its record and what each did.
fn play(updates: &[UpdateFields<'_>]) -> (JobRecord, Vec<Result<bool, RejectionCode>>) {
    let (mut record, mut outcomes) = (None, Vec::new());
    for (seq, fields) in (1..).zip(updates) {
        let update = Update::new(fields.clone()).unwrap();
        match decide(record.as_deref().map(Standing::of), &update, &Kinds::default(), NOW) {
            Ok(change) => {
                let change = Change { seq, ..change };
                let before = record.as_deref().map(Standing::of);
                let after = change.applied.then(|| Standing::after(&change, before));
                let next = apply(record.clone(), &change, NOW);
                assert!(after.is_none_or(|after| after == Standing::of(&next)));
                record = Some(next);
                outcomes.push(Ok(change.applied));
            }
            Err(refusal) => outcomes.push(Err(refusal.code())),
        }
    }
    (Arc::unwrap_or_clone(record.expect("at least one update applies")), outcomes)
}

fn fields<'a>(status: &'a str, ms: impl Into<Option<u64>>) -> UpdateFields<'a> {
    UpdateFields {
        job_id: "j",
        status: (!status.is_empty()).then_some(status),
        at: ms.into().map(at),
        ..UpdateFields::default()
    }
}

#[test]
fn the_newest_time_wins_and_equal_times_go_to_the_later_arrival() {
    let (record, outcomes) =
        play(&[fields("processing", 10), fields("queued", 5), fields("completed", 10)]);
    assert_eq!(outcomes, [Ok(true), Ok(false), Ok(true)]);
    assert_eq!(record.status.as_str(), "completed");
    assert_eq!((record.seq, record.created_at, record.status_at), (3, at(10), at(10)));
    assert_eq!(record.transition_count, 2);
}

#[test]
fn an_update_without_time_overcomes_a_far_future_one() {
    let (record, outcomes) = play(&[fields("processing", 1 << 40), fields("completed", None)]);
    assert_eq!(outcomes, [Ok(true), Ok(true)]);
    assert_eq!(record.status_at, at(1 << 40));
    assert_eq!(record.status.as_str(), "completed");
}

#[test]
fn a_higher_attempt_applies_and_a_lower_one_is_stale() {
    let attempt =
        |status, ms, attempt| UpdateFields { attempt: Some(attempt), ..fields(status, ms) };
    let (record, outcomes) = play(&[
        attempt("processing", 100, 2),
        attempt("completed", 200, 1),
        attempt("processing", 50, 3),
        attempt("error", 40, 3),
    ]);
    assert_eq!(outcomes, [Ok(true), Ok(false), Ok(true), Ok(false)]);
    assert_eq!((record.attempt, record.status.as_str()), (3, "processing"));
    assert_eq!(record.started_at, Some(at(50)));
}

#[test]
fn a_first_given_attempt_of_zero_or_one_is_compared_by_time() {
    let given = UpdateFields { attempt: Some(1), ..fields("error", 5) };
    assert_eq!(play(&[fields("processing", 10), given]).1, [Ok(true), Ok(false)]);
    let given = UpdateFields { attempt: Some(0), ..fields("error", 15) };
    assert_eq!(play(&[fields("processing", 10), given]).1, [Ok(true), Ok(true)]);
    let given = UpdateFields { attempt: Some(2), ..fields("error", 5) };
    assert_eq!(play(&[fields("processing", 10), given]).1, [Ok(true), Ok(true)]);
}

#[test]
fn a_restart_counts_an_attempt_and_clears_progress_and_message() {
    let (record, _) = play(&[
        UpdateFields { progress: Some(0.5), message: Some("page 1"), ..fields("processing", 1) },
        fields("completed", 2),
        fields("queued", 3),
    ]);
    assert_eq!((record.attempt, record.progress, record.message), (2, None, None));
    assert_eq!((record.started_at, record.finished_at), (None, None));
    assert_eq!(record.transition_count, 3);
}

#[test]
fn an_error_is_cleared_by_an_applied_status_without_one() {
    let failed = UpdateFields { error: Some("boom"), ..fields("error", 1) };
    let (record, _) = play(&[failed.clone(), fields("queued", 0)]);
    assert_eq!(record.error.as_deref(), Some("boom"));
    let (record, _) = play(&[failed, fields("queued", 2)]);
    assert_eq!(record.error, None);
}

#[test]
fn heartbeats_raise_seen_at_and_never_touch_the_status() {
    let beat = UpdateFields { progress: Some(0.25), ..fields("", 99) };
    let (record, outcomes) = play(&[fields("processing", 1), beat.clone()]);
    assert_eq!(outcomes, [Ok(true), Ok(true)]);
    assert_eq!((record.seen_at, record.status_at, record.seq), (at(99), at(1), 2));
    assert_eq!((record.progress, record.transition_count), (Some(0.25), 1));
    let update = Update::new(beat).unwrap();
    let refusal = decide(None, &update, &Kinds::default(), NOW).unwrap_err();
    assert_eq!(refusal.code(), RejectionCode::UnknownJob);
}

#[test]
fn if_status_replaces_the_comparison_of_times() {
    let claim = |demanded| UpdateFields { if_status: Some(demanded), ..fields("processing", 1) };
    let (record, outcomes) =
        play(&[fields("queued", 50), claim("queued"), claim("queued"), claim("processing")]);
    let conflict = Err(RejectionCode::StatusConflict);
    assert_eq!(outcomes, [Ok(true), Ok(true), conflict, Ok(true)]);
    assert_eq!(record.status_at, at(50));
}

#[test]
fn only_an_applied_update_moves_a_job_to_another_pipeline() {
    let named = |pipeline, ms| UpdateFields { pipeline: Some(pipeline), ..fields("queued", ms) };
    let (record, _) = play(&[named("a", 10), named("b", 5), fields("processing", 20)]);
    assert_eq!(record.pipeline.as_str(), "a");
    let (record, _) = play(&[named("a", 10), named("b", 15)]);
    assert_eq!(record.pipeline.as_str(), "b");
}

#[test]
fn the_last_32_transitions_stay() {
    let updates: Vec<_> =
        (0..50).map(|i| fields(if i % 2 == 0 { "processing" } else { "error" }, i)).collect();
    let (record, _) = play(&updates);
    assert_eq!((record.transitions.len(), record.transition_count), (32, 50));
    assert_eq!(record.transitions.front().unwrap().seq, 19);
    assert_eq!(record.attempt, 25);
}

#[test]
fn an_attempt_that_nobody_saw_begin_has_no_start() {
    let attempt =
        |status, ms, attempt| UpdateFields { attempt: Some(attempt), ..fields(status, ms) };
    let (record, _) = play(&[attempt("processing", 100, 1), attempt("error", 50, 2)]);
    assert_eq!((record.started_at, record.finished_at), (None, Some(at(50))));
}

#[test]
fn a_finished_job_finished_at_its_last_report() {
    let (record, _) = play(&[fields("error", 10), fields("error", 30)]);
    assert_eq!((record.finished_at, record.status_at), (Some(at(30)), at(30)));
    assert_eq!(record.transition_count, 1);
}
