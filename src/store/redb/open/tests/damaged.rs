//! Every page of a store is damaged, one at a time: the store is refused untouched, or is what it
//! was.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::store::redb::disk::tests::HOLDS_NOTHING;
use crate::store::redb::site::tests::READS_UNVERIFIED;
use crate::store::redb::tests::machine::Random;
use crate::store::redb::tests::power::{Facts, first_seed, number_of};

/// What happens to a page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Zeroed,
    /// The file ends where it begins.
    Cut,
    /// One bit of it is turned.
    Turned,
}

impl Damage {
    fn of(self, bytes: &[u8], page: std::ops::Range<usize>, random: &mut Random) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        match self {
            Self::Zeroed => damaged[page].fill(0),
            Self::Cut => damaged.truncate(page.start),
            Self::Turned => {
                let offset = page.start + random.below(page.len() as u64) as usize;
                damaged[offset] ^= 1 << random.below(8);
            }
        }
        damaged
    }
}

/// What came of opening damaged stores, by the damage.
#[derive(Debug, Default)]
struct Came {
    refused: [u64; 3],
    intact: [u64; 3],
    wrong: Vec<String>,
}

impl Came {
    /// Opens a store whose file `name` is damaged: it is refused untouched, or is `whole`.
    fn judge(&mut self, home: &Home, name: &str, damage: Damage, whole: &Facts) {
        let before = home.contents();
        let look = || match home.open() {
            Ok((_write, read)) => {
                let is_clean = read.check().is_ok_and(|report| report.is_clean());
                let is_whole = Facts::try_of(&*read, 0).is_ok_and(|it| it == *whole);
                if is_clean && is_whole { Ok(true) } else { Err("it is another store".to_owned()) }
            }
            Err(OpenError::Damaged { file, .. }) if file.ends_with(name) => Ok(false),
            Err(error) => Err(error.to_string()),
        };
        match catch_unwind(AssertUnwindSafe(look)).unwrap_or(Err("a panic".to_owned())) {
            Ok(true) => self.intact[damage as usize] += 1,
            Ok(false) if before != home.contents() => {
                self.wrong.push("it was refused and changed".to_owned());
            }
            Ok(false) => self.refused[damage as usize] += 1,
            Err(what) => self.wrong.push(what),
        }
    }
}

/// Does each of the damages to every page of both files of `whole`, each in a store of its own.
fn damage_every_page(whole: &Home, damages: &[Damage]) -> Came {
    const PAGE_BYTES: usize = 4_096;
    let home = Home::fast();
    let contents = whole.contents();
    let known = Facts::of(&*whole.open().unwrap().1, 0);
    let (mut random, mut came) = (Random(first_seed()), Came::default());
    for (name, bytes) in contents.iter().filter(|(name, _)| name != "STORE") {
        for place in (0..bytes.len()).step_by(PAGE_BYTES) {
            let page = place..bytes.len().min(place + PAGE_BYTES);
            for damage in damages.iter().copied() {
                home.fill(&contents);
                std::fs::write(home.path("LOCK"), b"").unwrap();
                let damaged = damage.of(bytes, page.clone(), &mut random);
                std::fs::write(home.path(name), damaged).unwrap();
                let wrong = came.wrong.len();
                came.judge(&home, name, damage, &known);
                let note = |what: &mut String| *what = format!("{damage:?} {name} {place}: {what}");
                came.wrong[wrong..].iter_mut().for_each(note);
            }
        }
    }
    came
}

/// One bit of each page is turned; more than once by a variable.
#[test]
fn a_page_that_is_zeroed_turned_or_cut_is_refused_untouched_or_changes_no_answer() {
    let turns = (number_of("JOBSLATE_FLIPS", 400) / 400).max(1) as usize;
    let damages = [&[Damage::Zeroed, Damage::Cut][..], &vec![Damage::Turned; turns]].concat();
    let Came { refused, intact, wrong } = damage_every_page(&Home::with_jobs(40, true), &damages);
    println!("zeroed, cut, turned: {refused:?} refused, {intact:?} intact");
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong.first());
    assert!(refused.iter().all(|it| *it > 5) && intact[0] > 5 && intact[2] > 5);
}

/// After a kill redb repairs a file before it verifies it.
#[test]
fn a_file_that_is_cut_after_a_kill_is_refused_untouched() {
    let Came { refused, intact, wrong } =
        damage_every_page(&Home::with_jobs(40, false), &[Damage::Cut]);
    println!("{refused:?} refused, {intact:?} intact");
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong.first());
    assert!(refused[1] > 20 && intact[1] == 0, "{refused:?}, {intact:?}");
}

/// A control. (Segments of the journal carry sums of their own.)
#[test]
fn an_opening_that_does_not_verify_the_pages_is_found_out() {
    READS_UNVERIFIED.set(true);
    let wrong = damage_every_page(&Home::with_jobs(40, true), &[Damage::Zeroed]).wrong;
    READS_UNVERIFIED.set(false);
    assert!(wrong.iter().any(|it| it.ends_with("another store")), "{:#?}", wrong.first());
}

/// A control, of the tables: the journal is opened on another thread.
#[test]
fn an_opening_that_changes_what_it_then_refuses_is_found_out() {
    HOLDS_NOTHING.set(true);
    let wrong = damage_every_page(&Home::with_jobs(40, true), &[Damage::Zeroed]).wrong;
    HOLDS_NOTHING.set(false);
    assert!(wrong.iter().any(|it| it.ends_with("changed")), "{wrong:#?}");
}
