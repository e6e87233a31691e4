//! What a person sees while an import runs, on standard error.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output;

/// On anything but a terminal, one line in this time.
const LINE_GAP: Duration = Duration::from_secs(5);
/// The bar of a file, and of a pipe, whose end nobody knows.
const SIZED: &str = "{bar:30} {percent:>3} % of {total_bytes}  {msg}  {eta} left";
const UNSIZED: &str = "{spinner} {bytes} read  {msg}";
const TICK: Duration = Duration::from_millis(200);

/// A bar on a terminal, now and then a line elsewhere, or nothing.
pub enum Progress {
    Bar { bar: ProgressBar, is_moving: bool },
    Lines { written_at: Instant, waited_at: Option<Instant>, size_bytes: Option<u64> },
    Quiet,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// Bytes of the input, as they are on disk.
    pub read_bytes: u64,
    /// Accepted in this run.
    pub updates: u64,
    pub elapsed: Duration,
}

impl Position {
    /// Updates per second so far.
    pub fn rate(&self) -> f64 {
        rate(self.updates, self.elapsed)
    }
}

/// Things per second; 0 if no time has passed.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Progress {
    /// Begins to show; `size_bytes` is the whole input, if that is known.
    pub fn new(is_quiet: bool, size_bytes: Option<u64>) -> Self {
        if is_quiet {
            return Self::Quiet;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines { written_at: Instant::now(), waited_at: None, size_bytes };
        }
        let bar = ProgressBar::with_draw_target(size_bytes, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner} {msg}"));
        bar.set_message("reading");
        bar.enable_steady_tick(TICK);
        Self::Bar { bar, is_moving: false }
    }

    /// Shows how far it is.
    pub fn show(&mut self, position: Position) {
        let text = format!("{} updates, {:.0}/s", position.updates, position.rate());
        match self {
            Self::Quiet => (),
            Self::Bar { bar, is_moving } => {
                if !*is_moving {
                    *is_moving = true;
                    // A hash was made before; the time left is that of the sending alone.
                    bar.set_style(style(if bar.length().is_some() { SIZED } else { UNSIZED }));
                    bar.reset_eta();
                }
                bar.set_position(position.read_bytes);
                bar.set_message(text);
            }
            Self::Lines { written_at, size_bytes, .. } => {
                if written_at.elapsed() >= LINE_GAP {
                    *written_at = Instant::now();
                    let percent = size_bytes.map_or_else(String::new, |size| {
                        format!(
                            "{:.0} %, ",
                            position.read_bytes as f64 * 100.0 / size.max(1) as f64
                        )
                    });
                    output::note(&format!("import: {percent}{text}"));
                }
            }
        }
    }

    /// Says why it stands still.
    pub fn waiting(&mut self, why: &str) {
        match self {
            Self::Quiet => (),
            Self::Bar { bar, .. } => bar.set_message(format!("waiting: {why}")),
            Self::Lines { waited_at, .. } => {
                if waited_at.is_some_and(|at| at.elapsed() < LINE_GAP) {
                    return;
                }
                *waited_at = Some(Instant::now());
                output::note(&format!("import: waiting: {why}"));
            }
        }
    }

    /// Takes the bar away, before anything else is written.
    pub fn end(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
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
        for template in [SIZED, UNSIZED, "{spinner} {msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rate(5, Duration::ZERO), 0.0);
        assert_eq!(rate(5, Duration::from_secs(2)), 2.5);
    }
}
