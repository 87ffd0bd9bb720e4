//! The times at which a plan's faults strike on the stage: by the rules of the simulator
//! (`sim/src/harness/faults.rs`).
use handoff::host::Gap;
use handoff::unix::probe::SystemCall;
use handoff_sim::plan::{At, Fault, What};

/// The plan's faults, as far as the run has come.
#[derive(Debug)]
pub(super) struct StagedFaults {
    armed: Vec<StagedFault>,
    /// The handoff that was begun last; 0 before the first.
    pub handoff: u32,
    /// No more of them.
    pub over: bool,
}

#[derive(Debug)]
struct StagedFault {
    fault: Fault,
    /// The system call of the effect before which it strikes, if not before the effect.
    step: Option<SystemCall>,
    /// The number of times that its place is still passed.
    left: u32,
    has_struck: bool,
}

impl StagedFaults {
    /// The last one strikes before `step`, if that is given: a system call of the effect that follows its gap.
    pub(super) fn new(faults: &[Fault], step: Option<SystemCall>) -> StagedFaults {
        let arm = |fault: &Fault| StagedFault {
            left: fault.nth,
            step: None,
            has_struck: false,
            fault: fault.clone(),
        };
        let mut armed: Vec<StagedFault> = faults.iter().map(arm).collect();
        armed.last_mut().into_iter().for_each(|last| last.step = step);
        StagedFaults { armed, handoff: 0, over: false }
    }

    /// The fault whose place was passed often enough. Two at one place strike one after the other.
    pub(super) fn due(&mut self, step: Option<SystemCall>, is_here: impl Fn(&At) -> bool) -> Option<Fault> {
        let (handoff, over) = (self.handoff, self.over);
        let mut due: Option<Fault> = None;
        for armed in &mut self.armed {
            let waits = armed.left > 0 && armed.fault.in_handoff <= handoff && !over;
            if !waits || armed.step != step || !is_here(&armed.fault.at) {
                continue;
            }
            if armed.left > 1 {
                armed.left -= 1;
            } else if due.is_none() {
                armed.left = 0;
                armed.has_struck = true;
                due = Some(armed.fault.clone());
            }
        }
        due
    }

    /// Returns whether one of them strikes as soon as the daemon writes often enough.
    pub(super) fn strike_next_write(&self) -> bool {
        let is_due =
            |armed: &StagedFault| armed.left > 0 && armed.fault.in_handoff <= self.handoff && !self.over;
        self.armed.iter().any(|armed| is_due(armed) && armed.fault.at == At::DataWrite)
    }

    /// A write of the journal is cut: the process dies between the two halves.
    pub(super) fn torn(&mut self, gap: Gap) {
        let (fault, step) = (Fault::new(gap.into(), What::Crash), Some(SystemCall::WriteRest));
        self.armed.push(StagedFault { fault, step, left: 1, has_struck: true });
    }

    /// Those whose time is known: when, counted from the start of the run (`None`) or of a handoff.
    pub(super) fn timed(&self, handoff: Option<u32>) -> Vec<Fault> {
        let is_due = |armed: &&StagedFault| match armed.fault.at {
            At::Time(_) => handoff.is_none(),
            At::Handoff(nth, _) => handoff == Some(nth),
            _ => false,
        };
        self.armed.iter().filter(is_due).map(|armed| armed.fault.clone()).collect()
    }

    /// Notes that a fault has struck at its time.
    pub(super) fn has_struck(&mut self, fault: &Fault) {
        let same = self.armed.iter_mut().find(|armed| armed.fault == *fault);
        same.into_iter().for_each(|armed| armed.has_struck = true);
    }

    /// Those that have not struck, as a plan spells their places.
    pub(super) fn missed(&self) -> Vec<String> {
        let missed = self.armed.iter().filter(|armed| !armed.has_struck);
        let step = |armed: &StagedFault| armed.step.as_ref().map_or(String::new(), |step| format!("/{step}"));
        missed.map(|armed| format!("{} at {}{}", armed.fault.what, armed.fault.at, step(armed))).collect()
    }
}

/// Returns how long it lasts.
pub(super) fn millis(fault: &Fault) -> u64 {
    let usual = match fault.what {
        What::Stop | What::Delay => 300,
        What::Slow => 100,
        What::Hang => 2000,
        _ => 50,
    };
    fault.span.map_or(usual, |span| span.micros() / 1000)
}
