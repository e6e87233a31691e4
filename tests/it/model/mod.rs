//! Random calls of the library, played into a service on disk and into one in memory, the oracle:
//! whatever is asked, both answer alike. The one on disk is stopped, dropped and killed in between,
//! which nobody who asks may notice.
//!
//! One level above `src/store/conformance.rs`: here are admission, queue, writer, idempotency, and
//! restarts of the whole.

pub mod broken;
mod draw;
mod pair;

use crate::random::{Random, number_from_environment};
use broken::Rule;
use draw::Draw;
use pair::Pair;

/// How many calls are made if `JOBSLATE_MODEL_OPERATIONS` does not say.
const OPERATIONS_DEFAULT: usize = 20_000;
/// Calls of one pair of services; the oracle scans all it has, so each pair lives for so long.
const LIFE: usize = 10_000;
/// A broken rule must be seen within so many calls.
const CONTROL_OPERATIONS: usize = LIFE;

/// Plays `operations` calls into a new pair; the first difference, and which call showed it.
fn play(random: &mut Random, operations: usize, rule: Option<Rule>) -> Result<Pair, String> {
    let mut pair = Pair::new(rule);
    let mut draw = Draw::default();
    for number in 0..operations {
        let call = draw.call(random);
        let told = pair.play(&call);
        told.map_err(|difference| format!("call {number}, {call:?}:\n{difference}"))?;
    }
    Ok(pair)
}

#[test]
fn a_service_on_disk_answers_a_million_calls_as_the_oracle_does() {
    let operations = number_from_environment("JOBSLATE_MODEL_OPERATIONS", OPERATIONS_DEFAULT);
    let mut random = Random::from_environment();
    let mut told = pair::Told::default();
    for begin in (0..operations).step_by(LIFE) {
        // Each pair can be played again without those before it.
        println!("from call {begin}: JOBSLATE_SEED={}", random.seed());
        let pair = play(&mut random.fork(), LIFE.min(operations - begin), None);
        let pair = pair.unwrap_or_else(|difference| panic!("{difference}"));
        told.add(&pair.end().unwrap_or_else(|difference| panic!("{difference}")));
    }
    println!("{operations} calls: {told:?}");
    assert!(told.stale > 0 && told.merged > 0 && told.rejected > 0, "{told:?}");
    assert!(told.replayed > 0 && told.reused > 0 && told.queue_full > 0, "{told:?}");
    assert!(told.folds > 0 && told.restarts > 0 && told.pruned > 0, "{told:?}");
}

/// The controls: an oracle that breaks one rule is found out.
#[test]
fn an_oracle_that_breaks_a_rule_is_found() {
    for rule in Rule::ALL {
        let told = play(&mut Random::from_environment(), CONTROL_OPERATIONS, Some(rule));
        let Err(difference) = told else { panic!("{rule:?} was not found") };
        let first = difference.lines().next().unwrap_or_default();
        println!("{rule:?}: {}", first.chars().take(120).collect::<String>());
    }
}
