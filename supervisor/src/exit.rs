//! The exit statuses of the commands: the one table, for shells, for the wire and for the help text.
//!
//! Codes from 64 on are those of `sysexits.h`, so that a script can tell a mistake of its own from a failure of
//! the machine without parsing text.
use std::fmt;
use std::process::ExitCode;

use handoff::Verdict;
use serde::{Deserialize, Serialize};

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Code {
    /// The command did what it was asked to; a swap was committed.
    Ok = 0,
    /// The swap was rolled back, or fell back after its commit; the old daemon has confirmed that it serves.
    RolledBack = 1,
    /// The daemon that serves is not known: ask `status`, which says so itself while that is being found out.
    Unconfirmed = 3,
    /// Nobody serves: a swap ended so, and the supervisor starts the last committed binary; or `status` has found it so.
    NobodyServes = 4,
    /// `EX_USAGE`: the command line is wrong.
    Usage = 64,
    /// `EX_DATAERR`: the other side of the trigger socket sent what can't be understood, or a journal can't be read.
    Data = 65,
    /// `EX_NOINPUT`: the binary is missing or can't be executed.
    NoBinary = 66,
    /// `EX_UNAVAILABLE`: the supervisor does not run or is about to stop, or the daemon does not answer.
    Unavailable = 69,
    /// `EX_SOFTWARE`: a defect of this program.
    Software = 70,
    /// `EX_OSERR`: the system refused something.
    System = 71,
    /// `EX_CANTCREAT`: a socket or a file can't be created.
    CantCreate = 73,
    /// `EX_TEMPFAIL`: something else is under way; try again later.
    Busy = 75,
    /// `EX_PROTOCOL`: the daemon broke the protocol or did not answer; nothing was changed.
    Protocol = 76,
    /// `EX_NOPERM`: this user, or this binary, is not on the list, or the new daemon is of another build than is expected.
    NotAllowed = 77,
    /// `EX_CONFIG`: the configuration is wrong.
    Config = 78,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 15] = [
        Code::Ok,
        Code::RolledBack,
        Code::Unconfirmed,
        Code::NobodyServes,
        Code::Usage,
        Code::Data,
        Code::NoBinary,
        Code::Unavailable,
        Code::Software,
        Code::System,
        Code::CantCreate,
        Code::Busy,
        Code::Protocol,
        Code::NotAllowed,
        Code::Config,
    ];

    /// The exit status.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn meaning(self) -> &'static str {
        match self {
            Code::Ok => "done; a swap was committed",
            Code::RolledBack => "rolled back: the old daemon serves",
            Code::Unconfirmed => "not known which daemon serves: ask `status`",
            Code::NobodyServes => "nobody serves; the supervisor starts the daemon again",
            Code::Usage => "wrong command line",
            Code::Data => "a request, an answer or a journal that makes no sense",
            Code::NoBinary => "the binary is missing or not executable",
            Code::Unavailable => "the supervisor or its daemon does not answer",
            Code::Software => "a defect of this program",
            Code::System => "the system refused something",
            Code::CantCreate => "a socket or file can't be created",
            Code::Busy => "something else is under way; try again",
            Code::Protocol => "the daemon broke the protocol; nothing was changed",
            Code::NotAllowed => "this user, this binary or its build is not allowed",
            Code::Config => "wrong configuration; nothing was changed",
        }
    }

    /// The table for the help text.
    pub fn table() -> String {
        let rows = Code::ALL.map(|code| format!("  {:>2}  {}\n", code.number(), code.meaning()));
        format!("Exit status:\n{}", rows.concat())
    }
}

impl From<Verdict> for Code {
    fn from(verdict: Verdict) -> Code {
        match verdict {
            Verdict::Committed => Code::Ok,
            Verdict::RolledBack | Verdict::FellBack => Code::RolledBack,
            Verdict::NobodyServes => Code::NobodyServes,
            // And what a later library knows.
            _ => Code::Unconfirmed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// The reason why a command could not be carried out: a code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandFailure {
    /// The kind of failure.
    pub code: Code,
    /// The event, and what helps where something does.
    pub message: String,
}

impl CommandFailure {
    /// A failure with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> CommandFailure {
        CommandFailure { code, message: message.into() }
    }
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandFailure {}

impl From<handoff::Error> for CommandFailure {
    fn from(error: handoff::Error) -> CommandFailure {
        let code = match &error {
            handoff::Error::Busy | handoff::Error::Locked(_) => Code::Busy,
            handoff::Error::Peer(_) => Code::Protocol,
            handoff::Error::System { .. } => Code::System,
            handoff::Error::Defect(_) => Code::Software,
            handoff::Error::Caller(_) | handoff::Error::Untrusted(_) => Code::Config,
            handoff::Error::Unreachable(_) | handoff::Error::Cancelled => Code::Unavailable,
            _ => Code::Software,
        };
        CommandFailure::new(code, error.to_string())
    }
}

impl From<handoff::HandoffError> for CommandFailure {
    fn from(failed: handoff::HandoffError) -> CommandFailure {
        failed.error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice_and_each_is_in_the_help() {
        let numbers: Vec<u8> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let table = Code::table();
        assert!(numbers.iter().all(|number| table.contains(&format!("  {number:>2}  "))), "{table}");
    }

    #[test]
    fn a_daemon_that_can_not_be_reached_is_not_said_to_break_the_protocol() {
        let code = |error: fn(String) -> handoff::Error| CommandFailure::from(error(String::new())).code;
        assert_eq!(code(handoff::Error::Unreachable), Code::Unavailable);
        assert_eq!(code(handoff::Error::Peer), Code::Protocol);
    }

    #[test]
    fn an_unconfirmed_outcome_is_neither_success_nor_roll_back() {
        let code = Code::from(Verdict::Unconfirmed);
        assert_ne!(code, Code::from(Verdict::RolledBack));
        assert_eq!(code.number(), 3);
        assert_eq!(Code::from(Verdict::FellBack).number(), 1);
        assert_eq!(Code::from(Verdict::Committed).number(), 0);
    }
}
