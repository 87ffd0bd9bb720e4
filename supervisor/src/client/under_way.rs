//! A swap that was asked for, while it is under way.
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{absolute, connect, failed, parse, unexpected};
use crate::exit::{Code, CommandFailure};
use crate::protocol::{ANSWER_MAX, SwapProgress, SwapReport, TriggerAnswer, TriggerRequest, line};

/// The order of a swap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapOrder {
    /// The new binary, one that the supervisor's configuration lists; the configured one if `None`.
    pub binary: Option<PathBuf>,
    /// The name that the new daemon must give to its build. One that does not is let go before anything is
    /// touched.
    pub expect_build: Option<String>,
    /// Only let the new daemon become warm, and let it go.
    pub dry_run: bool,
}

/// A swap that was asked for. Its descriptor is readable when there may be something to [take](SwapUnderWay::take). Dropped, the
/// swap goes on.
#[derive(Debug)]
pub struct SwapUnderWay {
    trigger_socket: PathBuf,
    request: TriggerRequest,
    stream: UnixStream,
    sent: io::Result<()>,
    read: Vec<u8>,
}

/// The news of a swap that a supervisor tells.
#[derive(Clone, Debug, PartialEq)]
pub enum SwapEvent {
    /// The progress of the swap.
    Progress(SwapProgress),
    /// The swap is over.
    Ended(SwapReport),
}

impl SwapUnderWay {
    /// Asks the supervisor at `trigger_socket` for a swap, and to tell how far that has come. Returns at once.
    ///
    /// # Errors
    /// The supervisor can't be reached.
    pub fn begin(trigger_socket: &Path, order: &SwapOrder) -> Result<SwapUnderWay, CommandFailure> {
        let SwapOrder { binary, expect_build, dry_run } = order.clone();
        let binary = binary.as_deref().map(absolute).transpose()?;
        let expect_build = expect_build.map(Into::into);
        let request = TriggerRequest::Swap { binary, progress: true, expect_build, dry_run };
        SwapUnderWay::ask(trigger_socket.into(), request)
    }

    fn ask(trigger_socket: PathBuf, request: TriggerRequest) -> Result<SwapUnderWay, CommandFailure> {
        let (stream, sent) = connect(&trigger_socket, &line(&request)?)?;
        let unblocked = stream.set_nonblocking(true);
        unblocked.map_err(|error| CommandFailure::new(Code::System, error.to_string()))?;
        Ok(SwapUnderWay { trigger_socket, request, stream, sent, read: Vec::new() })
    }

    /// Returns what the supervisor has told, in its order; `None` if it has told nothing more yet. Does not
    /// wait.
    ///
    /// # Errors
    /// As [`client::swap`](super::swap).
    pub fn take(&mut self) -> Result<Option<SwapEvent>, CommandFailure> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        match parse(&line)? {
            TriggerAnswer::Progress(progress) => Ok(Some(SwapEvent::Progress(progress))),
            TriggerAnswer::Swap(report) => Ok(Some(SwapEvent::Ended(report))),
            TriggerAnswer::Error(failure) if self.is_not_understood(&failure) => {
                let mut silent = self.request.clone();
                let TriggerRequest::Swap { progress, .. } = &mut silent else { return Err(failure) };
                *progress = false;
                *self = SwapUnderWay::ask(self.trigger_socket.clone(), silent)?;
                self.take()
            }
            answer => Err(unexpected(answer)),
        }
    }

    /// Returns whether the supervisor is of a version that can't tell how far a swap has come, and has done
    /// nothing.
    fn is_not_understood(&self, failure: &CommandFailure) -> bool {
        let asks = matches!(self.request, TriggerRequest::Swap { progress: true, .. });
        asks && failure.code == Code::Data && failure.message.contains("unknown field `progress`")
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, CommandFailure> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.read.drain(..=end).collect()));
            }
            if self.read.len() > ANSWER_MAX {
                return Err(CommandFailure::new(Code::Data, "the answer is too long"));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.no_answer(Ok(()))),
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.no_answer(Err(error))),
            }
        }
    }

    fn no_answer(&mut self, read: io::Result<()>) -> CommandFailure {
        let sent = std::mem::replace(&mut self.sent, Ok(()));
        failed(&self.trigger_socket, &self.request, sent, read)
    }
}

impl AsFd for SwapUnderWay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
