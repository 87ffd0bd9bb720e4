//! The other end of the trigger socket.
mod under_way;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::under_way::{SwapEvent, SwapOrder, SwapUnderWay};
use crate::exit::{Code, CommandFailure};
use crate::protocol::{ANSWER_MAX, StatusReport, SwapReport, TriggerAnswer, TriggerRequest, line};

/// The longest time that a supervisor may take to say what runs. It asks the daemon, which may be silent for
/// a while.
const STATUS_LIMIT: Duration = Duration::from_secs(30);

/// Replaces the daemon of the supervisor at `trigger_socket` by `binary`, or by the configured binary. Returns
/// when that has ended, which the supervisor's own deadline bounds.
///
/// # Errors
/// The swap was refused, or ([`Code::Unconfirmed`]) the supervisor ended before it could tell the outcome.
pub fn swap(trigger_socket: &Path, binary: Option<&Path>) -> Result<SwapReport, CommandFailure> {
    let binary = binary.map(absolute).transpose()?;
    let request = TriggerRequest::Swap { binary, progress: false, expect_build: None, dry_run: false };
    match ask(trigger_socket, &request, None)? {
        TriggerAnswer::Swap(report) => Ok(report),
        answer => Err(unexpected(answer)),
    }
}

/// Calls off the swap that the supervisor at `trigger_socket` has under way, and returns what has become of it.
///
/// # Errors
/// No swap is under way, or ([`Code::Unconfirmed`]) the supervisor ended before it could tell the outcome.
pub fn cancel(trigger_socket: &Path) -> Result<SwapReport, CommandFailure> {
    match ask(trigger_socket, &TriggerRequest::Cancel {}, None)? {
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

/// Returns why it was refused, or that the answer belongs to another question.
fn unexpected(answer: TriggerAnswer) -> CommandFailure {
    match answer {
        TriggerAnswer::Error(failure) => failure,
        TriggerAnswer::Progress(_)
        | TriggerAnswer::Swap(_)
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
    let (stream, sent) = connect(trigger_socket, &line(request)?)?;
    let limited = stream.set_read_timeout(limit);
    limited.map_err(|error| CommandFailure::new(Code::System, error.to_string()))?;
    let mut answer = Vec::new();
    let read = BufReader::new(stream).take(ANSWER_MAX as u64).read_until(b'\n', &mut answer);
    if answer.ends_with(b"\n") {
        return parse(&answer);
    }
    Err(failed(trigger_socket, request, sent, read.map(drop)))
}

/// Connects, and sends `request`. A supervisor that refuses this user closes before it reads: its answer matters, not
/// the write that failed.
fn connect(trigger_socket: &Path, request: &[u8]) -> Result<(UnixStream, io::Result<()>), CommandFailure> {
    let mut stream =
        UnixStream::connect(trigger_socket).map_err(|error| unreachable(trigger_socket, &error))?;
    let sent = stream.write_all(request);
    Ok((stream, sent))
}

fn parse(answer: &[u8]) -> Result<TriggerAnswer, CommandFailure> {
    serde_json::from_slice(answer)
        .map_err(|error| CommandFailure::new(Code::Data, format!("not an answer: {error}")))
}

/// The supervisor has not answered.
fn failed(
    trigger_socket: &Path,
    request: &TriggerRequest,
    sent: io::Result<()>,
    read: io::Result<()>,
) -> CommandFailure {
    let code = match request {
        // It may have been on its way with the swap, and the daemon may have been replaced.
        TriggerRequest::Swap { .. } | TriggerRequest::Cancel {} if sent.is_ok() => Code::Unconfirmed,
        _ => Code::Unavailable,
    };
    let why =
        sent.and(read).err().map_or_else(|| "the connection was closed".into(), |error| error.to_string());
    CommandFailure::new(code, format!("no answer from the supervisor at {}: {why}", trigger_socket.display()))
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

    /// Returns what a client that asks for a swap makes of a supervisor that sends `answer`.
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

    /// A supervisor that answers each connection with what `answers` make of its request.
    fn supervisor(answers: Vec<fn(&str) -> String>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trigger.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                (&stream).write_all(answer(&request).as_bytes()).unwrap();
            }
        });
        (dir, path)
    }

    /// Returns what comes of a swap that is watched.
    fn watched(path: &Path) -> (Vec<String>, Result<SwapReport, CommandFailure>) {
        let mut swap = SwapUnderWay::begin(path, &SwapOrder::default()).unwrap();
        let mut phases = Vec::new();
        loop {
            match swap.take() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Ok(Some(SwapEvent::Progress(progress))) => phases.push(progress.phase.to_string()),
                Ok(Some(SwapEvent::Ended(report))) => return (phases, Ok(report)),
                Err(failure) => return (phases, Err(failure)),
            }
        }
    }

    const DONE: &str = concat!(
        r#"{"swap":{"outcome":"committed","committed":true,"reason":null,"resumed_confirmed":false,"handoff_id":"7","#,
        r#""binary":"/bin/d","pid":7,"phases_ms":{"total":1.0},"warnings":[]}}"#,
        "\n"
    );

    #[test]
    fn a_swap_that_is_watched_tells_how_far_it_has_come() {
        let tells = |request: &str| {
            assert_eq!(request, "{\"cmd\":\"swap\",\"progress\":true}\n");
            let line = r#"{"progress":{"handoff_id":"7","phase":"drain","elapsed_ms":1.0,"incumbent":null,"successor":null}}"#;
            format!("{line}\n{DONE}")
        };
        let (_dir, path) = supervisor(vec![tells]);
        let (phases, report) = watched(&path);
        assert_eq!((phases, report.unwrap().pid), (vec!["drain".to_string()], Some(7)));
    }

    #[test]
    fn a_supervisor_that_does_not_know_of_that_is_asked_without_it() {
        let refuses = |_: &str| {
            let why = "not a request: unknown field `progress`, expected `binary` at line 1 column 30";
            format!("{{\"error\":{{\"code\":\"data\",\"message\":\"{why}\"}}}}\n")
        };
        let swaps = |request: &str| {
            assert_eq!(request, "{\"cmd\":\"swap\"}\n");
            DONE.to_string()
        };
        let (_dir, path) = supervisor(vec![refuses, swaps]);
        assert_eq!(watched(&path).1.unwrap().pid, Some(7));
        let (_dir, path) = supervisor(vec![refuses, refuses]);
        assert_eq!(watched(&path).1.unwrap_err().code, Code::Data, "once");
    }

    #[test]
    fn a_supervisor_that_ends_while_it_is_watched_leaves_the_outcome_open() {
        let (_dir, path) = supervisor(vec![|_| String::new()]);
        assert_eq!(watched(&path).1.unwrap_err().code, Code::Unconfirmed);
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_words() {
        let failure = swap_answered_with(b"{\"error\":{\"code\":\"busy\",\"message\":\"later\"}}\n");
        assert_eq!(failure, CommandFailure::new(Code::Busy, "later"));
        assert_eq!(swap_answered_with(b"hello\n").code, Code::Data);
    }
}
