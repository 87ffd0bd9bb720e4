//! `status --watch`: what runs, again and again, until it is interrupted.
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, poll};

use crate::client;
use crate::exit::{Code, CommandFailure};
use crate::output::to_json;
use crate::protocol::{StatusReport, TriggerAnswer};
use crate::{text, when};

/// After so long the supervisor is asked again.
const PAUSE_MS: u16 = 1000;

/// Shows what the supervisor at `trigger` says: on a terminal all of it, drawn anew each second, elsewhere a line whenever something has
/// changed. Returns when standard output takes no more.
pub(crate) fn watch(trigger: &Path, json: bool) -> Code {
    let redraws = io::stdout().is_terminal() && !json;
    let mut shown = String::new();
    loop {
        let report = client::status(trigger);
        let change = summary(&report);
        let text = match (redraws, change != shown) {
            (true, _) => format!("\x1b[H\x1b[J{}\n", whole(&report)),
            (false, false) => String::new(),
            (false, true) if json => match &report {
                Ok(report) => to_json(report) + "\n",
                Err(failure) => to_json(&TriggerAnswer::Error(failure.clone())) + "\n",
            },
            (false, true) => format!("{} {change}\n", when::now()),
        };
        shown = change;
        let mut stdout = io::stdout();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if written.is_err() || is_closed_after(&stdout, PAUSE_MS) {
            return Code::Ok;
        }
    }
}

/// Waits for so long; whether standard output has no reader any more.
fn is_closed_after(stdout: &io::Stdout, pause_ms: u16) -> bool {
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut fds, pause_ms).is_ok_and(|count| count > 0)
}

fn whole(report: &Result<StatusReport, CommandFailure>) -> String {
    report.as_ref().map_or_else(ToString::to_string, text::status)
}

/// All that is worth a line when it changes: nothing that time alone changes.
fn summary(report: &Result<StatusReport, CommandFailure>) -> String {
    report.as_ref().map_or_else(ToString::to_string, text::summary)
}
