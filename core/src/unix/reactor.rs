//! The one event loop of real processes: `poll(2)`, then the node, until the node is over.
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use crate::host::Clock;
use crate::machine::StateName;
use crate::node::{Faithful, NodeOn};
use crate::time::Duration;
use crate::unix::{poller, under_way};

/// The system that a node stands on in a real process.
pub(crate) trait System: Clock {
    /// The descriptors to wait for; with `true`, also until there is room to write.
    fn pollables(&self) -> Vec<(BorrowedFd<'_>, bool)>;

    /// Takes back the wakes of other threads, before what they woke for is looked for.
    fn drain_wakes(&mut self);

    /// Returns how long to wait at most where something is to be looked at that wakes no `poll(2)`.
    fn look_again_after(&self) -> Option<Duration> {
        None
    }

    /// Called after each event that the machine has handled.
    fn stepped(&mut self, _state: StateName) {}
}

/// Runs `node` until it is over.
pub(crate) fn run<N, O>(node: &mut N, os: &mut O)
where
    N: NodeOn<O, Event: Debug>,
    O: System,
{
    loop {
        os.drain_wakes();
        while let Some(event) = node.next(os) {
            if step(node, os, event).is_break() {
                return;
            }
        }
        if node.is_over() {
            return;
        }
        let until_wake = node.wake_at().map(|at| at.since(os.now()));
        let timeout = until_wake.into_iter().chain(os.look_again_after()).min();
        poller::wait(&os.pollables(), timeout);
    }
}

/// Hands `event` to the machine.
pub(crate) fn step<N, O>(node: &mut N, os: &mut O, event: N::Event) -> ControlFlow<()>
where
    N: NodeOn<O, Event: Debug>,
    O: System,
{
    let (role, before, handoff) = (node.role(), node.state(), node.handoff());
    under_way::note(handoff);
    tracing::trace!(target: "handoff.event", %role, state = %before, ?event);
    if node.step(os, event, &mut Faithful).is_break() {
        return ControlFlow::Break(());
    }
    let after = node.state();
    under_way::note(node.handoff().or(handoff));
    if before != after {
        tracing::debug!(target: "handoff.state", %role, from = %before, to = %after);
    }
    os.stepped(after);
    under_way::note(node.handoff());
    ControlFlow::Continue(())
}
