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
    let step_ms = resolution.step_ms();
    let (from, to) = (TimestampMs(0), TimestampMs(1 << 50));
    read.timeline(&TimelineQuery { resolution, from, to, step_ms, pipeline: None }).unwrap()
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

#[test]
fn rows_are_bounded_and_the_newest_step_stays_whole() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { timeline_rows_max: 30, ..options(&directory) };
    let hour = |hour: u64| {
        (0..20).map(move |job| at(job, NOW + hour * HOUR, &format!("p{job}"))).collect()
    };
    let (write, read) = fold(&options, (0..5).map(hour));
    let hours = steps(&*read, Resolution::Hour);
    assert_eq!(hours.steps.len(), 1, "twenty pipelines and their sum fit once");
    assert_eq!(hours.steps.values().next().unwrap().values().next().unwrap().updates, 20);
    assert!(read.check().unwrap().is_clean());
    drop((write, read));
    // One step alone may exceed the bound.
    let many = (0..50).map(|job| at(job, NOW + 9 * HOUR, &format!("p{job}"))).collect();
    let (_write, read) = fold(&options, [many]);
    assert_eq!(steps(&*read, Resolution::Hour).steps.len(), 1);
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn a_report_from_before_what_is_kept_is_counted_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { timeline_rows_max: 1, ..options(&directory) };
    let late = [vec![at(1, NOW + HOUR, "p")], vec![at(2, NOW, "p")]];
    let (_write, read) = fold(&options, late);
    let hours = steps(&*read, Resolution::Hour);
    assert_eq!(hours.steps.len(), 1);
    assert!(hours.held_from.is_some_and(|from| from.0 > NOW));
    assert!(read.check().unwrap().is_clean());
}
