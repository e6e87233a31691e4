//! The timeline is bounded, whatever the times are that reporters give.

use super::*;
use crate::model::{Resolution, Timeline, TimelineQuery, UpdateFields};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * HOUR;

fn at(job: u64, at: u64, pipeline: &str) -> Update {
    Update::new(UpdateFields {
        job_id: &format!("job-{job}"),
        status: Some("queued"),
        at: Some(TimestampMs(at)),
        pipeline: Some(pipeline),
        ..UpdateFields::default()
    })
    .unwrap()
}

fn steps(read: &dyn ReadStore, resolution: Resolution) -> Timeline {
    steps_of(read, resolution, None)
}

fn steps_of(read: &dyn ReadStore, resolution: Resolution, pipeline: Option<&str>) -> Timeline {
    let step_ms = resolution.step_ms();
    let (from, to) = (TimestampMs(0), TimestampMs(1 << 50));
    let pipeline = pipeline.map(|name| PipelineName::parse(name).unwrap());
    read.timeline(&TimelineQuery { resolution, from, to, step_ms, pipeline }).unwrap()
}

/// Appends, folds by a stop, and opens again.
fn fold(options: &StoreOptions, batches: impl IntoIterator<Item = Vec<Update>>) -> Sides {
    let (mut write, read) = open(options);
    for updates in batches {
        write.append(&[Request::new(updates)], TimestampMs(NOW + 4_000 * DAY)).unwrap();
    }
    drop(read);
    write.close().unwrap();
    open(options)
}

#[test]
fn each_resolution_keeps_its_newest_steps() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    // One update in each of so many days, and in each of so many minutes of the last of them.
    let days = (0..3_700).map(|day| at(day, NOW + day * DAY, "p"));
    let minutes = (0..3_000).map(|minute| at(minute, NOW + 3_699 * DAY + minute * MINUTE, "p"));
    let updates: Vec<Update> = days.chain(minutes).collect();
    let batches: Vec<Vec<Update>> = updates.chunks(500).map(<[Update]>::to_vec).collect();
    let (_write, read) = fold(&options, batches);
    for resolution in Resolution::ALL {
        let timeline = steps(&*read, resolution);
        assert_eq!(timeline.steps.len() as u64, resolution.steps_max(), "{resolution:?}");
        assert_eq!(timeline.held_from, timeline.steps.keys().next().copied());
    }
    assert!(read.check().unwrap().is_clean());
}

/// An update of each of twenty pipelines.
fn hour(hour: u64) -> Vec<Update> {
    (0..20).map(|job| at(job, NOW + hour * HOUR, &format!("p{job}"))).collect()
}

#[test]
fn rows_of_pipelines_are_bounded_and_all_together_keep_their_steps() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { timeline_rows_max: 50, ..options(&directory) };
    let (write, read) = fold(&options, (0..5).map(hour));
    assert_eq!(steps(&*read, Resolution::Hour).steps.len(), 5);
    let of_one = steps_of(&*read, Resolution::Hour, Some("p7"));
    assert_eq!(of_one.steps.len(), 2, "twice twenty rows fit");
    assert_eq!(of_one.held_from, Some(TimestampMs(NOW - NOW % HOUR + 3 * HOUR)));
    assert!(read.check().unwrap().is_clean());
    drop((write, read));
    // One step alone may exceed the bound.
    let many = (0..60).map(|job| at(job, NOW + 9 * HOUR, &format!("p{job}"))).collect();
    let (_write, read) = fold(&options, [many]);
    assert_eq!(steps_of(&*read, Resolution::Hour, Some("p7")).steps.len(), 1);
    assert_eq!(steps(&*read, Resolution::Hour).steps.len(), 6);
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn what_was_trimmed_is_not_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { timeline_rows_max: 60, ..options(&directory) };
    drop(fold(&options, (0..6).map(hour)));
    let held = Some(TimestampMs(NOW - NOW % HOUR + 3 * HOUR));
    let late = Request::new(vec![at(100, NOW + HOUR, "p7")]);
    let (mut write, read) = open(&options);
    assert_eq!(steps_of(&*read, Resolution::Hour, Some("p7")).held_from, held);
    write.append(&[late], TimestampMs(NOW + 4_000 * DAY)).unwrap();
    // Neither from the tail, nor after the fold.
    assert_eq!(steps_of(&*read, Resolution::Hour, Some("p7")).held_from, held);
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(&options);
    let of_one = steps_of(&*read, Resolution::Hour, Some("p7"));
    assert_eq!((of_one.held_from, of_one.steps.len()), (held, 3));
    // All together, that hour is still there.
    let whole = steps(&*read, Resolution::Hour);
    let updates: u64 = whole.steps.values().flat_map(|it| it.values()).map(|it| it.updates).sum();
    assert_eq!((whole.steps.len(), updates), (6, 121));
    assert!(read.check().unwrap().is_clean());
}
