//! What a person sees while a command works through something, on standard error.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// On anything but a terminal, one line in this time.
const LINE_GAP: Duration = Duration::from_secs(5);
/// Before anything is done.
const BEGINNING: &str = "{spinner} {msg}";
const TICK: Duration = Duration::from_millis(200);

/// What is done, and how it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The command.
    pub name: &'static str,
    /// What it counts.
    pub noun: &'static str,
    /// The measure of `whole` and of [`Position::done`].
    pub measure: Measure,
    /// All of it, if that is known.
    pub whole: Option<u64>,
}

/// What the part that is done is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Bytes,
    Things,
}

/// A bar on a terminal, now and then a line elsewhere, or nothing.
pub struct Progress {
    task: Task,
    face: Face,
}

enum Face {
    Bar { bar: ProgressBar, is_moving: bool },
    Lines { written_at: Instant, waited_at: Option<Instant> },
    Quiet,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// In the measure of the task.
    pub done: u64,
    /// What the task counts.
    pub count: u64,
    pub elapsed: Duration,
}

impl Position {
    /// Counted per second so far.
    pub fn rate(&self) -> f64 {
        rate(self.count, self.elapsed)
    }
}

/// Things per second; 0 if no time has passed.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Progress {
    /// Begins to show.
    pub fn new(is_quiet: bool, task: Task) -> Self {
        if is_quiet {
            return Self { task, face: Face::Quiet };
        }
        if !io::stderr().is_terminal() {
            let face = Face::Lines { written_at: Instant::now(), waited_at: None };
            return Self { task, face };
        }
        let bar = ProgressBar::with_draw_target(task.whole, ProgressDrawTarget::stderr());
        bar.set_style(style(BEGINNING));
        bar.set_message("reading");
        bar.enable_steady_tick(TICK);
        Self { task, face: Face::Bar { bar, is_moving: false } }
    }

    /// Says how much there is, once that is known.
    pub fn set_whole(&mut self, whole: Option<u64>) {
        self.task.whole = whole;
        if let (Face::Bar { bar, .. }, Some(whole)) = (&self.face, whole) {
            bar.set_length(whole);
        }
    }

    /// Shows how far it is.
    pub fn show(&mut self, position: Position) {
        let Task { name, noun, measure, whole } = self.task;
        let text = format!("{} {noun}, {:.0}/s", position.count, position.rate());
        match &mut self.face {
            Face::Quiet => (),
            Face::Bar { bar, is_moving } => {
                if !*is_moving {
                    *is_moving = true;
                    // A hash may have been made before; the time left is that of the work alone.
                    bar.set_style(style(template(measure, whole.is_some())));
                    bar.reset_eta();
                }
                bar.set_position(position.done);
                bar.set_message(text);
            }
            Face::Lines { written_at, .. } => {
                if written_at.elapsed() >= LINE_GAP {
                    *written_at = Instant::now();
                    let percent = whole.map_or_else(String::new, |whole| {
                        format!("{:.0} %, ", position.done as f64 * 100.0 / whole.max(1) as f64)
                    });
                    output::note(&format!("{name}: {percent}{text}"));
                }
            }
        }
    }

    /// Says why it stands still.
    pub fn waiting(&mut self, why: &str) {
        let name = self.task.name;
        match &mut self.face {
            Face::Quiet => (),
            Face::Bar { bar, .. } => bar.set_message(format!("waiting: {why}")),
            Face::Lines { waited_at, .. } => {
                if waited_at.is_some_and(|at| at.elapsed() < LINE_GAP) {
                    return;
                }
                *waited_at = Some(Instant::now());
                output::note(&format!("{name}: waiting: {why}"));
            }
        }
    }

    /// Takes the bar away, before anything else is written.
    pub fn end(&self) {
        if let Face::Bar { bar, .. } = &self.face {
            bar.finish_and_clear();
        }
    }
}

/// The bar of something whose end is known, or (a pipe, a filter) is not.
fn template(measure: Measure, is_sized: bool) -> &'static str {
    match (measure, is_sized) {
        (Measure::Bytes, true) => "{bar:30} {percent:>3} % of {total_bytes}  {msg}  {eta} left",
        (Measure::Bytes, false) => "{spinner} {bytes} read  {msg}",
        (Measure::Things, true) => "{bar:30} {percent:>3} % of {human_len}  {msg}  {eta} left",
        (Measure::Things, false) => "{spinner} {msg}",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bar_are_valid() {
        let measures = [Measure::Bytes, Measure::Things];
        let moving = measures.into_iter().flat_map(|it| [template(it, true), template(it, false)]);
        for template in moving.chain([BEGINNING]) {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rate(5, Duration::ZERO), 0.0);
        assert_eq!(rate(5, Duration::from_secs(2)), 2.5);
    }
}
