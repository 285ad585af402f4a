//! The progress bar and the summary of a batch, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::output::Output;

/// The numbers of the summary.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) minted: usize,
    pub(super) failed: usize,
    /// Businesses that --resume has found.
    pub(super) skipped: usize,
    /// Businesses without a result.
    pub(super) left: usize,
}

pub(super) struct Progress {
    counts: Counts,
    is_quiet: bool,
    start: Instant,
    /// Hidden unless standard error is a terminal.
    bar: ProgressBar,
    /// Whether lines of results would break the bar.
    is_mixed: bool,
}

impl Progress {
    pub(super) fn start(counts: Counts, is_quiet: bool) -> Self {
        let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let target = if is_quiet || is_ci {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(counts.left as u64), target);
        // `wide_bar` takes the width that is left.
        let template = "{wide_bar} {human_pos}/{human_len}{msg}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            counts,
            is_quiet,
            start: Instant::now(),
            is_mixed: !bar.is_hidden() && io::stdout().is_terminal(),
            bar,
        }
    }

    /// Counts a result.
    pub(super) fn count(&mut self, is_ok: bool) {
        self.counts.left = self.counts.left.saturating_sub(1);
        if is_ok {
            self.counts.minted += 1;
        } else {
            self.counts.failed += 1;
            let failed = HumanCount(self.counts.failed as u64);
            self.bar.set_message(format!(" ({failed} failed)"));
        }
        self.bar.inc(1);
    }

    /// Writes a result while the bar is hidden.
    pub(super) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.is_mixed {
            self.bar.suspend(write)
        } else {
            write()
        }
    }

    /// Says that a signal has stopped the batch, if someone is there to read it.
    pub(super) fn stopping(&self) {
        if !self.bar.is_hidden() {
            self.bar
                .println("Stopping after the requests in flight; press Ctrl-C to stop at once.");
        }
    }

    /// Removes the bar and prints the summary.
    pub(super) fn finish(self, output: &Output) -> Counts {
        self.bar.finish_and_clear();
        let Counts {
            minted,
            failed,
            skipped,
            left,
        } = self.counts;
        let seconds = self.start.elapsed().as_secs_f64();
        let text = if output.json() {
            json!({"summary": {
                "minted": minted,
                "failed": failed,
                "skipped": skipped,
                "left": left,
                "seconds": (seconds * 1e3).round() / 1e3,
            }})
            .to_string()
        } else {
            let [minted, failed, skipped, left] =
                [minted, failed, skipped, left].map(|count| HumanCount(count as u64));
            format!(
                "{minted} minted, {failed} failed, {skipped} skipped, {left} left, {seconds:.1} s"
            )
        };
        if !self.is_quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
        self.counts
    }
}
