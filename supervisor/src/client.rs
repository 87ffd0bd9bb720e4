//! The other end of the trigger socket.
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Code, CommandFailure};
use crate::protocol::{ANSWER_MAX, StatusReport, SwapReport, TriggerAnswer, TriggerRequest, line};

/// How long a supervisor may take to say what runs. It asks the daemon, which may be silent for a while.
const STATUS_LIMIT: Duration = Duration::from_secs(30);

/// Replaces the daemon of the supervisor at `trigger_socket` by `binary`, or by the configured binary. Returns
/// when that has ended, which the supervisor's own deadline bounds.
///
/// # Errors
/// The swap was refused, or ([`Code::Unconfirmed`]) the supervisor ended before it could tell the outcome.
pub fn swap(trigger_socket: &Path, binary: Option<&Path>) -> Result<SwapReport, CommandFailure> {
    let binary = binary.map(absolute).transpose()?;
    match ask(trigger_socket, &TriggerRequest::Swap { binary }, None)? {
        TriggerAnswer::Swap(report) => Ok(report),
        answer => Err(unexpected(answer)),
    }
}

/// Ends the supervisor at `trigger_socket` and leaves its daemon serving. Returns the daemon's pid.
///
/// # Errors
/// Something is under way, no daemon serves, or the supervisor can't leave one behind: it goes on then.
pub fn detach(trigger_socket: &Path) -> Result<u32, CommandFailure> {
    match ask(trigger_socket, &TriggerRequest::Detach {}, Some(STATUS_LIMIT))? {
        TriggerAnswer::Detached { pid } => Ok(pid),
        answer => Err(unexpected(answer)),
    }
}

/// Tells the supervisor at `trigger_socket` that whatever data the next daemon opens are the right ones. The daemon is
/// started then.
///
/// # Errors
/// A daemon serves, or something is under way: nothing has changed then.
pub fn accept_data(trigger_socket: &Path) -> Result<(), CommandFailure> {
    match ask(trigger_socket, &TriggerRequest::AcceptData {}, Some(STATUS_LIMIT))? {
        TriggerAnswer::Accepted {} => Ok(()),
        answer => Err(unexpected(answer)),
    }
}

/// Why it was refused, or that the answer belongs to another question.
fn unexpected(answer: TriggerAnswer) -> CommandFailure {
    match answer {
        TriggerAnswer::Error(failure) => failure,
        TriggerAnswer::Swap(_)
        | TriggerAnswer::Status(_)
        | TriggerAnswer::Detached { .. }
        | TriggerAnswer::Accepted {} => {
            CommandFailure::new(Code::Data, "the supervisor answered something else")
        }
    }
}

/// Asks the supervisor at `trigger_socket` what runs.
///
/// # Errors
/// It does not run, does not let this user in, or does not answer.
pub fn status(trigger_socket: &Path) -> Result<StatusReport, CommandFailure> {
    match ask(trigger_socket, &TriggerRequest::Status {}, Some(STATUS_LIMIT))? {
        TriggerAnswer::Status(report) => Ok(*report),
        answer => Err(unexpected(answer)),
    }
}

/// The supervisor has a working directory of its own.
fn absolute(binary: &Path) -> Result<PathBuf, CommandFailure> {
    std::path::absolute(binary)
        .map_err(|error| CommandFailure::new(Code::Usage, format!("{}: {error}", binary.display())))
}

fn ask(
    trigger_socket: &Path,
    request: &TriggerRequest,
    limit: Option<Duration>,
) -> Result<TriggerAnswer, CommandFailure> {
    let mut stream =
        UnixStream::connect(trigger_socket).map_err(|error| unreachable(trigger_socket, &error))?;
    let limited = stream.set_read_timeout(limit);
    limited.map_err(|error| CommandFailure::new(Code::System, error.to_string()))?;
    // A supervisor that refuses this user closes before it reads: its answer matters, not the failed write.
    let sent = stream.write_all(&line(request)?);
    let mut answer = Vec::new();
    let read = BufReader::new(stream).take(ANSWER_MAX as u64).read_until(b'\n', &mut answer);
    if answer.ends_with(b"\n") {
        return serde_json::from_slice(&answer)
            .map_err(|error| CommandFailure::new(Code::Data, format!("not an answer: {error}")));
    }
    let code = match request {
        // It may have been on its way with the swap, and the daemon may have been replaced.
        TriggerRequest::Swap { .. } if sent.is_ok() => Code::Unconfirmed,
        _ => Code::Unavailable,
    };
    let why =
        sent.and(read).err().map_or_else(|| "the connection was closed".into(), |error| error.to_string());
    Err(CommandFailure::new(
        code,
        format!("no answer from the supervisor at {}: {why}", trigger_socket.display()),
    ))
}

fn unreachable(trigger_socket: &Path, error: &io::Error) -> CommandFailure {
    let path = trigger_socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CommandFailure::new(Code::Unavailable, format!("no supervisor runs at {path}"))
        }
        io::ErrorKind::PermissionDenied => {
            CommandFailure::new(Code::NotAllowed, format!("{path}: {error}; see allowed_uids"))
        }
        _ => CommandFailure::new(Code::System, format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What a client that asks for a swap makes of a supervisor that sends `answer`.
    fn swap_answered_with(answer: &'static [u8]) -> CommandFailure {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trigger.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let supervisor = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            BufReader::new(&stream).read_until(b'\n', &mut Vec::new()).unwrap();
            (&stream).write_all(answer).unwrap();
        });
        let failure = swap(&path, None).unwrap_err();
        supervisor.join().unwrap();
        failure
    }

    #[test]
    fn no_supervisor_is_not_a_failed_swap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trigger.sock");
        assert_eq!(status(&path).unwrap_err().code, Code::Unavailable);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(swap(&path, None).unwrap_err().code, Code::Unavailable);
    }

    #[test]
    fn a_supervisor_that_ends_in_the_middle_leaves_the_outcome_open() {
        assert_eq!(swap_answered_with(b"").code, Code::Unconfirmed);
        assert_eq!(swap_answered_with(br#"{"swap":{"outco"#).code, Code::Unconfirmed);
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_words() {
        let failure = swap_answered_with(b"{\"error\":{\"code\":\"busy\",\"message\":\"later\"}}\n");
        assert_eq!(failure, CommandFailure::new(Code::Busy, "later"));
        assert_eq!(swap_answered_with(b"hello\n").code, Code::Data);
    }
}
