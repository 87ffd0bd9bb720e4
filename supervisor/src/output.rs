//! The output of a command: its result, why there is none, and what it shows until then.
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use handoff::daemon::LossyWriter;
use serde::Serialize;

use crate::exit::{Code, CommandFailure};
use crate::protocol::TriggerAnswer;

/// The longest time for which the end of the program waits for what it says to be written.
pub(crate) const LOG_LIMIT: Duration = Duration::from_millis(500);

/// Prints what a command found out, or why it could not: results on standard output, failures on standard error,
/// and with `json` one object on standard output either way.
pub(crate) fn show<T: Serialize>(
    result: Result<T, CommandFailure>,
    json: bool,
    render: impl Fn(&T) -> (Code, String),
) -> Code {
    match result {
        Ok(report) => {
            let (code, text) = render(&report);
            print(&if json { to_json(&report) } else { text });
            code
        }
        Err(failure) if json => {
            let code = failure.code;
            print(&to_json(&TriggerAnswer::Error(failure)));
            code
        }
        Err(failure) => ended(Err(failure)),
    }
}

/// Returns how a command ended; on standard error why it failed, if it did.
pub(crate) fn ended(result: Result<(), CommandFailure>) -> Code {
    match result {
        Ok(()) => Code::Ok,
        Err(failure) => {
            complain(&format!("handoff-supervisor: {failure}\n"));
            failure.code
        }
    }
}

/// `value` as one JSON object.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

/// Prints a result. The exit status tells the outcome also to a reader that has closed the pipe.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes to standard error what the end of this program must not depend on: it may have no reader, or be full.
fn complain(text: &str) {
    if let Ok(mut stderr) = LossyWriter::to_stderr("", |_| String::new()) {
        let _ = stderr.write_all(text.as_bytes());
        stderr.settle(LOG_LIMIT);
    }
}

/// The text that standard error shows while a command is at work. On a terminal its last line is drawn again
/// and again.
#[derive(Debug)]
pub(crate) struct Screen {
    stderr: LossyWriter,
    is_terminal: bool,
}

impl Screen {
    /// Standard error.
    ///
    /// # Errors
    /// Descriptors are exhausted, or no thread can be started.
    pub(crate) fn new() -> io::Result<Screen> {
        let stderr = LossyWriter::to_stderr("", |_| String::new())?;
        Ok(Screen { stderr, is_terminal: io::stderr().is_terminal() })
    }

    /// Returns whether lines can be drawn again.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows `text` in the last line, in place of what is there. Nothing, if that is no terminal.
    pub(crate) fn draw(&mut self, text: &str) {
        if self.is_terminal {
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    /// Shows `text` in a line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.draw("");
        self.write(&format!("{text}\n"));
    }

    fn write(&mut self, text: &str) {
        let _ = self.stderr.write_all(text.as_bytes());
    }
}

impl Drop for Screen {
    /// Clears the line: what comes next may be on the same terminal.
    fn drop(&mut self) {
        self.draw("");
        self.stderr.settle(LOG_LIMIT);
    }
}
