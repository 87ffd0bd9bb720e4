//! The steps of a daemon around its hooks for connections that outlive it, and an incumbent's end of the link
//! over which they pass.
//!
//! Production's code decides which steps belong to a hook, what is sent, and what counts; what is here moves bytes and descriptors.
use std::collections::{BTreeMap, VecDeque};

use handoff::HostError;
use handoff::carry::{CarryHook, CarryStep, Item, Next, Outgoing, Token};
use handoff::machine::incumbent;
use handoff::message::{Capabilities, Message};
use handoff::node::daemon::{Done, Hook as AnyHook};

use crate::happening::Happening;
use crate::kernel::{LengthOf, PassingPiece, Received, Side};
use crate::plan::Planted;
use crate::program::{CarryStage, DaemonCarrying, carry_hook};
use crate::trace::Happened;
use crate::world::{LastHolder, SimulatedWorld, Surroundings};

/// The progress of a step.
pub(super) enum StepOutcome {
    Waits,
    Done,
    Failed(String),
}

/// The items that an incumbent hears of its successor.
enum HeardItem {
    Item(Item),
    NothingYet,
    Never(String),
}

impl<S: Surroundings> SimulatedWorld<S> {
    /// The connections of a daemon's build outlive a process.
    pub(crate) fn carries(&self, pid: u32) -> bool {
        let is_plain = |build: u32| self.plan.plain_builds.contains(&build);
        self.plan.connections > 0 && self.daemon(pid).is_some_and(|daemon| !is_plain(daemon.build))
    }

    fn carrying(&mut self, pid: u32) -> Option<&mut DaemonCarrying> {
        self.daemon_mut(pid).map(|daemon| &mut daemon.carrying)
    }

    fn steps(&self, pid: u32, of: fn(CarryHook) -> &'static [CarryStep]) -> VecDeque<CarryStep> {
        let hook = self.daemon(pid).filter(|_| self.carries(pid)).and_then(|daemon| daemon.hooks.front());
        let steps = hook.and_then(|(_, hook)| carry_hook(hook)).map(of);
        steps.unwrap_or_default().iter().copied().collect()
    }

    /// The hook at the head of the queue begins, once the steps before it are done.
    pub(crate) fn hook_begins(&mut self, pid: u32) {
        let steps = self.steps(pid, CarryHook::before);
        if steps.is_empty() {
            return self.hook_itself_begins(pid);
        }
        if steps.contains(&CarryStep::Offer) {
            self.hangs_up(pid);
        }
        let Some(carrying) = self.carrying(pid) else { return };
        (carrying.steps, carrying.stage) = (steps, CarryStage::BeforeHook);
        self.carrying_goes_on(pid);
    }

    /// The hook at the head of the queue has returned; it is over once the steps after it are done.
    pub(crate) fn hook_has_returned(&mut self, pid: u32, result: Result<Done, HostError>) {
        let steps = if result.is_ok() { self.steps(pid, CarryHook::after) } else { VecDeque::new() };
        match self.carrying(pid).filter(|_| !steps.is_empty()) {
            Some(carrying) => {
                (carrying.steps, carrying.stage) = (steps, CarryStage::AfterHook(result));
                self.carrying_goes_on(pid);
            }
            None => self.hook_is_over(pid, result),
        }
    }

    /// Does what is next, until that has to wait for the successor.
    pub(crate) fn carrying_goes_on(&mut self, pid: u32) {
        while let Some(step) = self.running_daemon(pid).and_then(|it| it.carrying.steps.front().copied()) {
            match self.takes_step(pid, step) {
                StepOutcome::Waits => return,
                StepOutcome::Failed(why) => return self.carrying_fails(pid, why),
                StepOutcome::Done => {
                    let Some(carrying) = self.carrying(pid) else { return };
                    carrying.steps.pop_front();
                    carrying.patient_until = None;
                }
            }
        }
        let Some(daemon) = self.running_daemon(pid) else { return };
        match std::mem::take(&mut daemon.carrying.stage) {
            CarryStage::Idle => {}
            CarryStage::BeforeHook => self.hook_itself_begins(pid),
            CarryStage::AfterHook(result) => self.hook_is_over(pid, result),
        }
    }

    /// A step has failed, and with it the hook.
    fn carrying_fails(&mut self, pid: u32, why: String) {
        let Some(daemon) = self.daemon_mut(pid) else { return };
        daemon.carrying.steps.clear();
        (daemon.carrying.stage, daemon.carrying.patient_until) = (CarryStage::Idle, None);
        let Some((_, hook)) = daemon.hooks.front() else { return };
        let name = hook.name();
        self.note(Some(pid), || Happened::HookEnded(name, Some(why.clone())));
        self.hook_is_over(pid, Err(HostError::hook(why)));
    }

    fn takes_step(&mut self, pid: u32, step: CarryStep) -> StepOutcome {
        let outcome = match step {
            CarryStep::Offer => self.offers(pid),
            CarryStep::Offered => self.has_sent(pid, "the successor can't take the connections over"),
            CarryStep::Finish => self.drives(pid, step),
            CarryStep::Confirm => {
                match self.has_sent(pid, "the successor does not confirm the connections that it was sent") {
                    StepOutcome::Done => self.drives(pid, step),
                    failed => failed,
                }
            }
            CarryStep::TakeBack => self.takes_back(pid),
            CarryStep::Adopt => self.adopts_conns(pid),
        };
        match (step, outcome) {
            // The hook is not to wait for it: the step that follows it fails.
            (CarryStep::Offer | CarryStep::Finish, StepOutcome::Failed(why)) => {
                self.carrying(pid).into_iter().for_each(|carrying| carrying.unsent = Some(why.clone()));
                StepOutcome::Done
            }
            (_, outcome) => outcome,
        }
    }

    /// Fails if not all could be sent.
    fn has_sent(&mut self, pid: u32, what: &str) -> StepOutcome {
        match self.carrying(pid).and_then(|carrying| carrying.unsent.take()) {
            Some(why) => StepOutcome::Failed(format!("{what}: {why}")),
            None => StepOutcome::Done,
        }
    }

    /// Lets the successor have what is open, if it takes that.
    fn offers(&mut self, pid: u32) -> StepOutcome {
        let Some(carrying) = self.carrying(pid) else { return StepOutcome::Done };
        let outcome = match (carrying.outgoing.is_some(), carrying.asking) {
            (true, _) => self.offers_what_is_open(pid),
            (false, None) => self.connects_to_successor(pid),
            (false, Some((link, false))) => self.hears_hello(pid, link),
            (false, Some((link, true))) => self.hears_of_link(pid, link),
        };
        if matches!(outcome, StepOutcome::Failed(_)) {
            self.hangs_up(pid);
        }
        outcome
    }

    fn connects_to_successor(&mut self, pid: u32) -> StepOutcome {
        let hook = self.daemon(pid).and_then(|daemon| daemon.hooks.front());
        let Some((_, AnyHook::Incumbent(incumbent::Hook::Drain { successor: Some(successor), .. }))) = hook
        else {
            return StepOutcome::Done;
        };
        let (successor, now) = (successor.pid, self.kernel.now);
        let exhausted =
            self.kernel.processes.get(&pid).is_some_and(|process| process.no_descriptors_until > now);
        if exhausted || !self.kernel.answers(successor) {
            return StepOutcome::Failed("it can't be reached".into());
        }
        let link = self.kernel.connect(pid, successor);
        self.carrying(pid).into_iter().for_each(|carrying| carrying.asking = Some((link, false)));
        self.waits(pid)
    }

    /// The successor says first what it can do.
    fn hears_hello(&mut self, pid: u32, link: u64) -> StepOutcome {
        let hello = match self.kernel.reads(link, Side::Supervisor) {
            None => return self.waits(pid),
            Some(Received::Message(Message::Hello(hello), _)) => hello,
            Some(_) => return StepOutcome::Failed("it does not say hello".into()),
        };
        if !hello.capabilities.include(Capabilities::CONNECTIONS) {
            self.hangs_up(pid);
            return StepOutcome::Done;
        }
        self.send(link, Side::Supervisor, &Message::Connections);
        // It belongs to no turn of the node's.
        let _ = self.recorder.take_effects();
        let Some(carrying) = self.carrying(pid) else { return StepOutcome::Done };
        (carrying.asking, carrying.patient_until) = (Some((link, true)), None);
        self.waits(pid)
    }

    /// The successor says first over a link of connections that it is one.
    fn hears_of_link(&mut self, pid: u32, link: u64) -> StepOutcome {
        if !self.kernel.passing.all.contains_key(&link) {
            return match self.kernel.reads(link, Side::Supervisor) {
                None => self.waits(pid),
                Some(_) => StepOutcome::Failed("it refuses".into()),
            };
        }
        match self.hears_item(pid) {
            HeardItem::NothingYet => self.waits(pid),
            HeardItem::Never(why) => StepOutcome::Failed(why),
            HeardItem::Item(_) => {
                let Some(daemon) = self.daemon_mut(pid) else { return StepOutcome::Done };
                let mut outgoing = Outgoing::default();
                daemon.bytes.own.keys().for_each(|id| outgoing.opened(*id));
                (daemon.carrying.outgoing, daemon.carrying.asking) = (Some(outgoing), None);
                daemon.carrying.patient_until = None;
                self.offers_what_is_open(pid)
            }
        }
    }

    fn offers_what_is_open(&mut self, pid: u32) -> StepOutcome {
        loop {
            let outcome = self.drives(pid, CarryStep::Offer);
            let outgoing = self.carrying(pid).and_then(|carrying| carrying.outgoing.as_mut());
            if !matches!(outcome, StepOutcome::Done) || outgoing.is_none_or(Outgoing::is_near) {
                return outcome;
            }
        }
    }

    /// The end of the link that sends does what is next, until it has to wait or all is done.
    fn drives(&mut self, pid: u32, step: CarryStep) -> StepOutcome {
        let taken = self.carrying(pid).and_then(|carrying| carrying.outgoing.take());
        let Some(mut outgoing) = taken else { return StepOutcome::Done };
        let outcome = loop {
            let next = match step {
                CarryStep::Offer => outgoing.follow(),
                CarryStep::Finish => outgoing.finish(|| self.states(pid)),
                _ => outgoing.confirm(),
            };
            match next {
                Next::Done => break StepOutcome::Done,
                Next::Send(item) => match self.sends_item(pid, &item) {
                    StepOutcome::Done => {}
                    failed => break failed,
                },
                Next::Hear => match self.hears_item(pid) {
                    HeardItem::NothingYet => break self.waits(pid),
                    HeardItem::Never(why) => break StepOutcome::Failed(why),
                    HeardItem::Item(item) => match outgoing.answered(&item) {
                        Ok(()) => self.carrying(pid).into_iter().for_each(|it| it.patient_until = None),
                        Err(fault) => break StepOutcome::Failed(fault.to_string()),
                    },
                },
            }
        };
        if let Some(carrying) = self.carrying(pid) {
            carrying.outgoing = Some(outgoing);
        }
        outcome
    }

    /// The states that an incumbent sends.
    fn states(&self, pid: u32) -> BTreeMap<Token, Vec<u8>> {
        let own = self.daemon(pid).into_iter().flat_map(|daemon| &daemon.bytes.own);
        let encoded = own.map(|(id, own)| {
            let mut state = own.state.clone();
            if self.planted == Planted::OutputIsDropped {
                state.output.clear();
            }
            (*id, state.encode())
        });
        encoded.filter(|(_, state)| !state.is_empty()).collect()
    }

    /// The step waits for the successor, as long as the successor may be silent. Production's limit is shorter beside the supervisor's:
    /// its links are faster.
    fn waits(&mut self, pid: u32) -> StepOutcome {
        let (now, patience) = (self.kernel.now, self.plan.times.liveness.micros());
        let Some(carrying) = self.carrying(pid) else { return StepOutcome::Waits };
        match carrying.patient_until {
            Some(until) if now >= until => return StepOutcome::Failed("it is silent".into()),
            Some(_) => {}
            None => {
                carrying.patient_until = Some(now + patience);
                self.kernel.at(now + patience, Happening::Carries(pid));
            }
        }
        StepOutcome::Waits
    }

    fn sends_item(&mut self, pid: u32, item: &Item) -> StepOutcome {
        let Ok(bytes) = item.encode() else { return StepOutcome::Failed("an item is too long".into()) };
        let at = self.kernel.now + self.kernel.length(pid, LengthOf::Wire);
        let Some(link) = self.kernel.passing.sent_by(pid).filter(|link| link.to_open) else {
            return StepOutcome::Failed("it has given them up".into());
        };
        let descriptors = if let Item::Offer(tokens) = item { tokens.clone() } else { Vec::new() };
        let to = link.to;
        link.is_ended = matches!(item, Item::End(_)) || link.is_ended && *item != Item::Revoked;
        link.down.push_back(PassingPiece { at, bytes, descriptors: descriptors.clone() });
        descriptors.into_iter().for_each(|id| self.kernel.bytes.is_sent(id));
        self.kernel.poke(to, at);
        let name = self.kernel.name_of(to);
        self.note(Some(pid), || Happened::Note(format!("{} to {name}", in_words(item))));
        StepOutcome::Done
    }

    fn hears_item(&mut self, pid: u32) -> HeardItem {
        let now = self.kernel.now;
        let gone = || HeardItem::Never("it has given them up".into());
        let Some(link) = self.kernel.passing.sent_by(pid) else { return gone() };
        let Some(piece) = PassingPiece::next_of(&mut link.up, now) else {
            return if link.to_open || !link.up.is_empty() { HeardItem::NothingYet } else { gone() };
        };
        match Item::decode(&piece.bytes[4..]) {
            Ok(item) => HeardItem::Item(item),
            Err(error) => HeardItem::Never(error.to_string()),
        }
    }

    /// An incumbent is about to go on. What its successor has adopted it ends; of anything else it says that it goes on with it.
    fn takes_back(&mut self, pid: u32) -> StepOutcome {
        let Some(mut outgoing) = self.carrying(pid).and_then(|carrying| carrying.outgoing.take()) else {
            self.hangs_up(pid);
            return StepOutcome::Done;
        };
        let heard = self.kernel.passing.sent_by(pid).map(|link| std::mem::take(&mut link.up));
        let items = heard.into_iter().flatten().filter_map(|piece| Item::decode(&piece.bytes[4..]).ok());
        items.for_each(|item| _ = outgoing.answered(&item));
        if outgoing.is_adopted() {
            self.note(Some(pid), || {
                Happened::Note("ends the connections that its successor has adopted".into())
            });
            let own = self.daemon_mut(pid).map(|daemon| std::mem::take(&mut daemon.bytes.own));
            own.into_iter().flatten().for_each(|(id, _)| self.shuts_conn_down(pid, id));
        } else if let Some(item) = outgoing.revocation() {
            // A successor that does not hear of it has closed the link, and so given them up.
            let _ = self.sends_item(pid, &item);
        }
        self.hangs_up(pid);
        StepOutcome::Done
    }

    fn shuts_conn_down(&mut self, pid: u32, id: u64) {
        if self.kernel.bytes.shut_down(id) {
            self.byte_conn_has_ended(pid, id, LastHolder::Abandons);
        }
    }

    /// Closes the link to the successor. What was sent over it stays.
    fn hangs_up(&mut self, pid: u32) {
        self.kernel.passing.sender_closes(pid);
        let Some(carrying) = self.carrying(pid) else { return };
        (carrying.outgoing, carrying.unsent, carrying.patient_until) = (None, None, None);
        if let Some((link, _)) = carrying.asking.take() {
            self.kernel.close_link(link, Side::Supervisor);
        }
    }
}

fn in_words(item: &Item) -> String {
    match item {
        Item::Offer(tokens) => format!("offers {} connections", tokens.len()),
        Item::Ended(tokens) => format!("says that {} connections have ended", tokens.len()),
        Item::State { token, part, .. } => {
            format!("sends {} bytes of what it knows of connection {token}", part.len())
        }
        Item::AllStates => "says that it has sent all that it knows".into(),
        Item::End(carried) => format!("hands {} connections over", carried.count),
        Item::Revoked => "says that it takes its connections back".into(),
        Item::Received(_) | Item::Has(_) | Item::Refused(_) | Item::Adopted => "answers".into(),
    }
}
