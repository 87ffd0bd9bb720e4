//! The effect of a step on clients' connections: the two ends of the carrying, on the searched kernel.
use std::collections::{BTreeMap, VecDeque};

use handoff::HostError;
use handoff::carry::{CarryStep, ConnectionState, Incoming, Item, Next, Outgoing, Taken, Token};
use handoff::machine::{incumbent, successor};
use handoff::node::daemon::Hook as AnyHook;

use crate::explore::model::client_steps::{ClientStep, successor as successor_of};
use crate::explore::model::clients::{CarryLink, Clients, ROOM};
use crate::explore::model::connection::LetsGo;
use crate::explore::model::flaws::CarryFlaw;
use crate::explore::model::watch::Observer;
use crate::explore::model::{DaemonMachine, Model, id};

/// The progress of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepProgress {
    GoesOn,
    Done,
    Failed,
}

impl Model {
    pub(crate) fn apply_to_clients(&mut self, step: &ClientStep, watch: &mut Observer<'_>) {
        let Some(clients) = &mut self.clients else { return };
        let wrong = match *step {
            ClientStep::Part(pid) => return self.client_part_goes_on(pid, watch),
            ClientStep::Takes(i) => clients.takes(i),
            ClientStep::Comes(pid) => {
                clients.budget.comings -= 1;
                clients.comes(pid, ConnectionState::default());
                None
            }
            ClientStep::Leaves(token) => {
                clients.budget.comings -= 1;
                clients.leaves(token);
                None
            }
            ClientStep::Breaks(i) => {
                clients.budget.breaks -= 1;
                clients.gives_up(i)
            }
            ClientStep::Loses(i) => {
                clients.budget.losses -= 1;
                clients.links[i].down.pop_front();
                None
            }
            ClientStep::IsLater(pid) => {
                clients.budget.layouts -= 1;
                clients.process(pid).is_later = true;
                None
            }
        };
        let is_fault = !matches!(step, ClientStep::Takes(_) | ClientStep::Comes(_) | ClientStep::Leaves(_));
        if is_fault {
            self.is_disturbed();
        }
        self.violated(wrong);
    }

    /// Does the part that is next for a daemon. With the last one that follows its hook, the hook is over.
    fn client_part_goes_on(&mut self, pid: u32, watch: &mut Observer<'_>) {
        let Some((_, hook)) = self.processes.get(&pid).and_then(|process| process.hooks.first().cloned())
        else {
            return;
        };
        let returned = self.clients.as_ref().and_then(|clients| clients.processes.get(&pid)?.returned);
        let Some(part) = self.client_part(pid) else {
            return returned.into_iter().for_each(|good| self.report_hook(pid, Ok(good), watch));
        };
        let takes = successor_of(&hook).filter(|successor| self.takes_connections_of(*successor, pid));
        let Some(clients) = &mut self.clients else { return };
        let (progress, wrong) = match part {
            CarryStep::Offer => (clients.offers(pid, takes), None),
            CarryStep::Offered => {
                clients.process(pid).lost = false;
                (StepProgress::Failed, None)
            }
            CarryStep::Finish => (clients.finishes(pid), None),
            CarryStep::Confirm => (clients.confirms(pid), None),
            CarryStep::TakeBack => (StepProgress::Done, clients.takes_back(pid)),
            CarryStep::Adopt => (StepProgress::Done, clients.adopts(pid)),
        };
        if progress != StepProgress::GoesOn {
            clients.part_done(pid, &hook, part);
        }
        self.violated(wrong);
        if progress == StepProgress::Failed {
            self.report_hook(pid, Err(HostError::system("the successor does not confirm")), watch);
            return;
        }
        match returned.filter(|_| progress != StepProgress::GoesOn) {
            Some(good) if self.client_part(pid).is_none() => self.report_hook(pid, Ok(good), watch),
            _ => {}
        }
    }

    fn takes_connections_of(&self, successor: u32, pid: u32) -> bool {
        self.runs(successor)
            && matches!(
                &self.processes[&successor].daemon,
                DaemonMachine::Successor(machine) if machine.takes_connections_of() == Some(id(pid))
            )
    }

    /// A daemon's own hook has returned: what that means for connections. Returns whether more belongs to it.
    pub(crate) fn client_hook_returns(
        &mut self,
        pid: u32,
        hook: &AnyHook,
        result: &Result<bool, HostError>,
    ) -> bool {
        let Some(clients) = &mut self.clients else { return false };
        let wrong = match hook {
            AnyHook::Incumbent(incumbent::Hook::Drain { .. }) => {
                clients.drained(pid);
                None
            }
            AnyHook::Incumbent(incumbent::Hook::Resume { .. }) if result.is_ok() => clients.resumes(pid),
            _ => None,
        };
        self.violated(wrong);
        let Ok(good) = result else { return false };
        if let Some(clients) = &mut self.clients {
            clients.process(pid).returned = Some(*good);
        }
        let goes_on = self.client_part(pid).is_some();
        if let (true, Some(process)) = (goes_on, self.processes.get_mut(&pid)) {
            let serves = matches!(
                hook,
                AnyHook::Incumbent(incumbent::Hook::Resume { .. })
                    | AnyHook::Successor(successor::Hook::Serve)
            );
            process.accepts |= serves;
        }
        goes_on
    }
}

impl Clients {
    /// The states that an incumbent sends.
    pub(crate) fn states(&self, pid: u32) -> BTreeMap<Token, Vec<u8>> {
        let Some(process) = self.processes.get(&pid) else { return BTreeMap::new() };
        let encode = |state: &ConnectionState| {
            let mut state = state.clone();
            if self.flaw == Some(CarryFlaw::DropsOutput) {
                state.output.clear();
            }
            if process.is_later && self.flaw == Some(CarryFlaw::KeepsVersion) {
                state.session = std::mem::take(&mut state.input);
            }
            let mut bytes = state.encode();
            if process.is_later && self.flaw != Some(CarryFlaw::KeepsVersion) {
                bytes.iter_mut().take(1).for_each(|version| *version += 1);
            }
            bytes
        };
        let states = process.own.iter().map(|(token, state)| (*token, encode(state)));
        states.filter(|(_, state)| !state.is_empty()).collect()
    }

    /// Lets a successor that takes them have the connections that are open.
    fn offers(&mut self, pid: u32, successor: Option<u32>) -> StepProgress {
        if let (None, Some(to)) = (&self.process(pid).outgoing, successor) {
            let mut outgoing = Outgoing::default();
            self.open(pid).into_iter().for_each(|token| outgoing.opened(token));
            (self.process(pid).outgoing, self.process(pid).lost) = (Some(outgoing), false);
            let (down, up) = (VecDeque::new(), VecDeque::new());
            self.links.push(CarryLink { from: pid, to, down, up, from_open: true, to_open: true, end: None });
            return StepProgress::GoesOn;
        }
        let is_linked = self.process(pid).outgoing.is_some();
        let progress = if is_linked { self.drives(pid, CarryStep::Offer) } else { StepProgress::Failed };
        if progress != StepProgress::Failed {
            return progress;
        }
        self.process(pid).lost = true;
        self.hangs_up(pid);
        StepProgress::Done
    }

    fn finishes(&mut self, pid: u32) -> StepProgress {
        let progress = self.drives(pid, CarryStep::Finish);
        self.process(pid).lost = progress == StepProgress::Failed;
        if progress == StepProgress::Done && self.flaw == Some(CarryFlaw::ReadsLate) {
            for token in self.open(pid) {
                let _ = self.reads(pid, token, pid);
                self.connections.get_mut(&token).into_iter().for_each(|one| _ = one.readers.remove(&pid));
            }
        }
        if progress == StepProgress::GoesOn { StepProgress::GoesOn } else { StepProgress::Done }
    }

    fn confirms(&mut self, pid: u32) -> StepProgress {
        if self.process(pid).lost { StepProgress::Failed } else { self.drives(pid, CarryStep::Confirm) }
    }

    /// The end of a link that sends does what is next. If it would have to wait, the other end does not run, and is given up.
    fn drives(&mut self, pid: u32, part: CarryStep) -> StepProgress {
        let Some(mut outgoing) = self.process(pid).outgoing.take() else { return StepProgress::Done };
        let mut next = self.next(pid, part, &mut outgoing);
        if next == Next::Send(Item::AllStates) && self.flaw == Some(CarryFlaw::EndsAtOnce) {
            // It does as if the answer had come.
            let _ = (0..16).rev().find(|count| outgoing.answered(&Item::Received(*count)).is_ok());
            next = self.next(pid, part, &mut outgoing);
        }
        let progress = match next {
            Next::Send(item) => self.sends(pid, item),
            Next::Hear => self.hears(pid, &mut outgoing),
            Next::Done => StepProgress::Done,
        };
        let is_over = self.next(pid, part, &mut outgoing.clone()) == Next::Done;
        self.process(pid).outgoing = Some(outgoing);
        if progress == StepProgress::GoesOn && is_over { StepProgress::Done } else { progress }
    }

    fn sends(&mut self, pid: u32, item: Item) -> StepProgress {
        let Some(link) = self.link_from(pid).filter(|link| link.to_open && link.down.len() < ROOM) else {
            return StepProgress::Failed;
        };
        if let Item::End(end) = &item {
            link.end = Some(*end);
        }
        link.down.push_back(item);
        StepProgress::GoesOn
    }

    fn hears(&mut self, pid: u32, outgoing: &mut Outgoing) -> StepProgress {
        let flaw = self.flaw;
        let Some(link) = self.link_from(pid) else { return StepProgress::Failed };
        let answer = match (link.up.pop_front(), link.end) {
            (Some(Item::Has(_)), Some(end)) if flaw == Some(CarryFlaw::ComparesNothing) => Item::Has(end),
            (Some(answer), _) => answer,
            (None, _) => return StepProgress::Failed,
        };
        let is_known = matches!(answer, Item::Received(_)) && flaw == Some(CarryFlaw::EndsAtOnce);
        if outgoing.answered(&answer).is_ok() || is_known {
            StepProgress::GoesOn
        } else {
            StepProgress::Failed
        }
    }

    /// An incumbent closes its end. What it has sent stays in the link.
    fn hangs_up(&mut self, pid: u32) {
        if let Some(link) = self.link_from(pid) {
            link.from_open = false;
            link.up.clear();
        }
        self.process(pid).outgoing = None;
        self.forget_links();
    }

    /// An incumbent hears all that has come. What its successor has adopted it ends; else it says that it goes on. If there is no room
    /// for that, the successor does not hear of it.
    fn takes_back(&mut self, pid: u32) -> Option<String> {
        let mut outgoing = self.process(pid).outgoing.take()?;
        self.process(pid).lost = false;
        if let Some(link) = self.link_from(pid) {
            link.up.drain(..).for_each(|item| _ = outgoing.answered(&item));
        }
        if outgoing.is_adopted() && self.flaw != Some(CarryFlaw::AbandonsNothing) {
            self.hangs_up(pid);
            return self.open(pid).into_iter().fold(None, |wrong, token| {
                let found = self.shuts_down(pid, token);
                wrong.or(found)
            });
        }
        let revocation = outgoing.revocation().filter(|_| self.flaw != Some(CarryFlaw::RevokesNothing));
        if let Some(link) = self.link_from(pid).filter(|link| link.to_open && link.down.len() < ROOM)
            && let Some(item) = revocation
        {
            link.end = None;
            link.down.push_back(item);
        }
        self.hangs_up(pid);
        None
    }

    /// Nothing is read any more. What a drain should have ended and did not, its grace being over, is left until the process ends.
    fn drained(&mut self, pid: u32) {
        self.connections.values_mut().for_each(|connection| _ = connection.readers.remove(&pid));
    }

    fn resumes(&mut self, pid: u32) -> Option<String> {
        self.open(pid).into_iter().fold(None, |wrong, token| {
            let found = self.reads(pid, token, pid);
            wrong.or(found)
        })
    }

    /// A successor takes in one item, and answers.
    fn takes(&mut self, i: usize) -> Option<String> {
        let to = self.links[i].to;
        let item = self.links[i].down.pop_front()?;
        let beside = if let Item::Offer(tokens) = &item { tokens.len() } else { 0 };
        let ends = matches!(item, Item::End(_));
        let answer = match self.process(to).incoming.take(item, beside) {
            Ok(Taken::Keep(tokens, answer)) => {
                for token in tokens {
                    self.connections.get_mut(&token).into_iter().for_each(|one| _ = one.holders.insert(to));
                    self.process(to).arrived.insert(token);
                }
                answer
            }
            Ok(Taken::Close(tokens, answer)) => {
                let wrong = tokens.into_iter().fold(None, |wrong, token| {
                    self.process(to).arrived.remove(&token);
                    let found = self.closes(to, token, LetsGo::GivesUp);
                    wrong.or(found)
                });
                self.answers(i, answer);
                return wrong;
            }
            Ok(Taken::Answer(answer)) => answer,
            Ok(Taken::State(token, state)) => match ConnectionState::decode(&state) {
                Some(state) => {
                    self.process(to).states.insert(token, state);
                    return None;
                }
                None => return self.gives_up(i),
            },
            Ok(Taken::Nothing) => {
                // It was revoked.
                self.process(to).states.clear();
                return None;
            }
            Err(_) => return self.gives_up(i),
        };
        self.answers(i, answer);
        if ends && self.flaw == Some(CarryFlaw::ReadsEarly) { self.goes_on(to, i) } else { None }
    }

    fn answers(&mut self, i: usize, answer: Item) {
        let link = &mut self.links[i];
        if link.from_open {
            link.up.push_back(answer);
        }
    }

    /// A successor finds nonsense in a link, or that it is broken; the incumbent finds out when it uses it.
    fn gives_up(&mut self, i: usize) -> Option<String> {
        let to = self.links[i].to;
        self.process(to).incoming = Incoming::default();
        self.process(to).states.clear();
        let arrived = std::mem::take(&mut self.process(to).arrived);
        let wrong = arrived.into_iter().fold(None, |wrong, token| {
            let found = self.closes(to, token, LetsGo::GivesUp);
            wrong.or(found)
        });
        let wrong = wrong.or(self.loses_what_is_under_way(i));
        let link = &mut self.links[i];
        (link.to_open, link.end) = (false, None);
        link.up.clear();
        self.forget_links();
        wrong
    }

    /// Drops what lies unread in a link with it.
    fn loses_what_is_under_way(&mut self, i: usize) -> Option<String> {
        let to = self.links[i].to;
        let items = std::mem::take(&mut self.links[i].down);
        let offered = items
            .into_iter()
            .filter_map(|item| if let Item::Offer(tokens) = item { Some(tokens) } else { None });
        offered.flatten().fold(None, |wrong, token| {
            let found = self.closes(to, token, LetsGo::GivesUp);
            wrong.or(found)
        })
    }

    /// A successor serves, takes in what has come, and says that it goes on with it, if it counts.
    fn adopts(&mut self, pid: u32) -> Option<String> {
        let mut wrong = None;
        let is_open = |link: &CarryLink| link.to == pid && link.to_open;
        while let Some(i) = self.links.iter().position(|link| is_open(link) && !link.down.is_empty()) {
            let found = self.takes(i);
            wrong = wrong.or(found);
        }
        if let Some(i) = self.links.iter().position(is_open) {
            let found = self.goes_on(pid, i);
            wrong = wrong.or(found);
        }
        for token in std::mem::take(&mut self.process(pid).arrived) {
            let found = self.closes(pid, token, LetsGo::Serves);
            wrong = wrong.or(found);
        }
        self.links.iter_mut().filter(|link| link.to == pid).for_each(|link| link.to_open = false);
        self.forget_links();
        wrong
    }

    /// Goes on with what has come over a link, if it counts.
    fn goes_on(&mut self, pid: u32, i: usize) -> Option<String> {
        let adoption = self.process(pid).incoming.adoption()?;
        let from = self.links[i].from;
        if self.flaw != Some(CarryFlaw::AdoptsSilently) {
            self.answers(i, adoption);
        }
        let mut states = std::mem::take(&mut self.process(pid).states);
        let mut wrong = None;
        for token in std::mem::take(&mut self.process(pid).arrived) {
            self.process(pid).own.insert(token, states.remove(&token).unwrap_or_default());
            let found = self.reads(pid, token, from);
            wrong = wrong.or(found);
        }
        wrong
    }
}
