//! The lines that are seen while it runs: one for each step, and on a terminal a bar below them. All of it on
//! standard error.
use std::io::Write;

use handoff_kv::load::Counters;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// The progress of the demonstration.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Hidden where standard error is no terminal.
    bar: ProgressBar,
}

impl Progress {
    /// A demonstration of `steps`.
    pub(crate) fn new(steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        // The template is fixed, and the default is of use as well.
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// Says what has happened.
    pub(crate) fn say(&self, text: &str) {
        if self.bar.is_hidden() {
            note(text);
        } else {
            self.bar.println(text);
        }
    }

    /// Marks another step as done.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// Shows how the load stands.
    pub(crate) fn show(&self, load: &Counters) {
        let Counters { requests, failed, longest_pause_ms, .. } = load;
        let requests = HumanCount(*requests);
        self.bar.set_message(format!(
            "{requests} requests, {failed} failed, longest pause {longest_pause_ms:.1} ms"
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a line to standard error, if that still has a reader.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
