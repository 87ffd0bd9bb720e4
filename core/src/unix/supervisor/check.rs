//! Has a binary check itself before anything is touched.
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::{Child, SpawnSpec};
use crate::error::{Error, Result};
use crate::node::keeper::{CHECK_PATIENCE, KILL_PATIENCE};
use crate::text::PlainText;
use crate::unix::bind::set_nonblocking;
use crate::unix::context::Context;
use crate::unix::control;
use crate::unix::env::StartRole;
use crate::unix::pid::Exit;
use crate::unix::poller;
use crate::unix::spawn::{SpawnRequest, spawn};

/// The longest time that it takes to notice that the check is called off.
const LOOK: Duration = Duration::from_millis(50);
/// The number of bytes of the end of its output that are kept.
const OUTPUT_KEPT: usize = 4096;
/// The number of lines of that which are told.
const LINES_TOLD: usize = 10;

impl SpawnSpec {
    /// Runs the binary with [`SpawnSpec::check_args`] in place of its arguments, as a daemon would be set up (user, directory,
    /// umask, environment) but without listeners, and waits for its end, a minute at most. Does nothing if there are no such
    /// arguments. In its environment `HANDOFF_ROLE` is `check`: a daemon that does not know these arguments can't begin to serve.
    ///
    /// # Errors
    /// [`Error::Caller`] if it can't be started, does not exit with 0, or is not over in time, with the end of its output;
    /// [`Error::Cancelled`] if `is_cancelled` says so before its end; [`Error::System`] if descriptors are exhausted.
    pub fn check_itself(&self, is_cancelled: impl Fn() -> bool) -> Result<()> {
        if self.check_args.is_empty() {
            return Ok(());
        }
        let (mut child, output) = self.start_check()?;
        let mut output = CheckOutput { pipe: File::from(output), kept: VecDeque::new(), is_open: true };
        let checked = self.see_check(&mut child, &mut output, is_cancelled);
        // Whatever keeps it from being seen to its end, it must not go on.
        if !matches!(child.try_wait(), Ok(Some(_))) {
            child.kill()?;
            child.wait_timeout(KILL_PATIENCE)?;
        }
        checked
    }

    /// Waits for the end of a check.
    fn see_check(
        &self,
        child: &mut Child,
        output: &mut CheckOutput,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<()> {
        let binary = self.binary.display();
        let until = Instant::now() + CHECK_PATIENCE;
        loop {
            let ended = child.try_wait()?;
            output.read();
            let left = until.saturating_duration_since(Instant::now());
            match ended {
                Some(Exit::Code(0)) => return Ok(()),
                Some(how) => {
                    return Err(Error::Caller(format!("{binary} checked itself and {how}{}", output.told())));
                }
                None if is_cancelled() => return Err(Error::Cancelled),
                None if left.is_zero() => {
                    let told = output.told();
                    let why = format!("{binary} checks itself for longer than {CHECK_PATIENCE:?}{told}");
                    return Err(Error::Caller(why));
                }
                None => {}
            }
            let pipe = output.is_open.then(|| (output.pipe.as_fd(), false));
            let fds: Vec<_> = pipe.into_iter().chain(child.as_pollable().map(|fd| (fd, false))).collect();
            poller::wait(&fds, Some(left.min(LOOK)));
        }
    }

    /// The check's process, and what it writes.
    fn start_check(&self) -> Result<(Child, OwnedFd)> {
        let cant = || "can't open a pipe to a new process".into();
        let (pipe, writes) = pipe2(OFlag::O_CLOEXEC).context(cant)?;
        set_nonblocking(&pipe).context(cant)?;
        // It gets a link, as every process that is started, at which no supervisor listens.
        let (_ours, theirs) = control::socketpair().context(cant)?;
        let started = spawn(SpawnRequest {
            binary: &self.binary,
            image: None,
            args: &self.check_args,
            env: &self.env,
            setting: &self.setting,
            listeners: &[],
            link: theirs.into(),
            role: StartRole::Check,
            output: Some(writes.as_fd()),
        });
        // Nothing was touched, whatever the system says.
        let process = started.map_err(|error| Error::Caller(format!("the check: {error}")))?.process;
        let child = Child::started(process).context(|| format!("can't watch process {process}"))?;
        Ok((child, pipe))
    }
}

/// The output of a check; its end is kept.
struct CheckOutput {
    pipe: File,
    kept: VecDeque<u8>,
    is_open: bool,
}

impl CheckOutput {
    /// Reads what is there, a bounded part of it at once.
    fn read(&mut self) {
        const READS: usize = 64;
        let mut chunk = [0; OUTPUT_KEPT];
        for _ in 0..READS {
            match self.pipe.read(&mut chunk) {
                Ok(0) => self.is_open = false,
                Ok(count) => {
                    self.kept.extend(&chunk[..count]);
                    let surplus = self.kept.len().saturating_sub(OUTPUT_KEPT);
                    self.kept.drain(..surplus);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {}
            }
            return;
        }
    }

    /// The last lines, as part of a message.
    fn told(&mut self) -> String {
        let text = String::from_utf8_lossy(self.kept.make_contiguous()).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LINES_TOLD)..];
        if last.is_empty() {
            return "; it wrote nothing".into();
        }
        let shown: Vec<String> = last.iter().map(|line| PlainText::from(*line).to_string()).collect();
        format!("; its output ends with: {}", shown.join(" | "))
    }
}
