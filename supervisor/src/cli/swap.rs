//! `swap`, as people see it: how far it has come, and the question that Ctrl-C asks.
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::SIGINT;

use crate::client::{self, SwapEvent, SwapOrder, SwapUnderWay};
use crate::exit::{Code, CommandFailure};
use crate::output::Screen;
use crate::protocol::{SwapProgress, SwapReport};
use crate::signals::Signals;
use crate::text;

/// After so long the line on the terminal is drawn again, in milliseconds: it shows the time.
const TICK_MS: u16 = 100;

/// Replaces the daemon of the supervisor at `trigger` as `order` says, and shows on standard error how far that has come unless `quiet`.
///
/// # Errors
/// As [`client::swap`]; or the operator has left, and the swap goes on.
pub(crate) fn swap(trigger: &Path, order: &SwapOrder, quiet: bool) -> Result<SwapReport, CommandFailure> {
    let system = |error: io::Error| CommandFailure::new(Code::System, error.to_string());
    let signals = Signals::new(&[SIGINT]).map_err(system)?;
    let screen = Screen::new().map_err(system)?;
    let may_ask = screen.is_terminal() && io::stdin().is_terminal();
    let swap = SwapUnderWay::begin(trigger, order)?;
    SwapView { trigger, swap, signals, screen, quiet, may_ask, asks: false, last: None }.run()
}

struct SwapView<'a> {
    trigger: &'a Path,
    swap: SwapUnderWay,
    signals: Signals,
    screen: Screen,
    quiet: bool,
    /// `true` if there is an operator at a terminal.
    may_ask: bool,
    /// `true` if the operator is asked whether to cancel.
    asks: bool,
    last: Option<SeenProgress>,
}

/// The progress of the swap, as it was seen last.
struct SeenProgress {
    progress: SwapProgress,
    at: Instant,
    phase_since: Instant,
}

impl SwapView<'_> {
    fn run(mut self) -> Result<SwapReport, CommandFailure> {
        loop {
            self.wait()?;
            if !self.signals.pending().is_empty() {
                self.interrupted()?;
            }
            while let Some(event) = self.swap.take()? {
                match event {
                    SwapEvent::Progress(progress) => self.comes_to(progress),
                    SwapEvent::Ended(report) => return Ok(report),
                }
            }
            self.draw();
        }
    }

    /// Waits until there is something to do, and hears the operator's answer.
    fn wait(&mut self) -> Result<(), CommandFailure> {
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(self.swap.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.asks.then(|| PollFd::new(stdin.as_fd(), PollFlags::POLLIN)));
        let draws = self.screen.is_terminal() && !self.quiet;
        let timeout = if draws { PollTimeout::from(TICK_MS) } else { PollTimeout::NONE };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(CommandFailure::new(Code::System, format!("poll: {errno}"))),
        }
        let is_answered = fds.get(2).and_then(PollFd::any).unwrap_or_default();
        if is_answered {
            self.answered();
        }
        Ok(())
    }

    /// Ctrl-C. The first one asks, where there is an operator; the second one leaves.
    fn interrupted(&mut self) -> Result<(), CommandFailure> {
        if self.asks || !self.may_ask {
            let message = "left; the swap goes on: `status` shows how far it has come, `cancel` calls it off";
            return Err(CommandFailure::new(Code::Unconfirmed, message));
        }
        self.asks = true;
        self.screen.line("");
        self.screen.draw("Cancel the swap? (y to cancel, Enter to go on, Ctrl-C to leave it alone) ");
        Ok(())
    }

    fn answered(&mut self) {
        self.asks = false;
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        if read.is_err() || !matches!(answer.trim(), "y" | "Y" | "yes") {
            return;
        }
        self.screen.line("cancelling");
        let trigger = self.trigger.to_path_buf();
        // What becomes of the swap is told to this client as well.
        let cancel = move || drop(client::cancel(&trigger));
        if let Err(error) = thread::Builder::new().name("cancel".into()).spawn(cancel) {
            self.screen.line(&format!("can't cancel: {error}"));
        }
    }

    /// The supervisor says how far it has come.
    fn comes_to(&mut self, progress: SwapProgress) {
        let now = Instant::now();
        let same_phase = self.last.as_ref().filter(|last| last.progress.phase == progress.phase);
        let phase_since = same_phase.map_or(now, |last| last.phase_since);
        if same_phase.is_none() && !self.quiet && !self.screen.is_terminal() {
            self.screen.line(&text::phase_begins(&progress));
        }
        self.last = Some(SeenProgress { progress, at: now, phase_since });
    }

    fn draw(&mut self) {
        let Some(SeenProgress { progress, at, phase_since }) = &self.last else { return };
        if !self.quiet && !self.asks {
            let elapsed = Duration::from_secs_f64(progress.elapsed_ms.max(0.0) / 1000.0) + at.elapsed();
            let line = text::phase_now(progress, phase_since.elapsed(), elapsed);
            self.screen.draw(&line);
        }
    }
}
