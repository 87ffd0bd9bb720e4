//! The next events of clients' connections, and the names of those events.
use handoff::carry::{CarryStep, Item, Next, Outgoing, Token};
use handoff::machine::incumbent;
use handoff::node::daemon::Hook as AnyHook;

use super::Model;
use super::clients::{CarryLink, Clients, ROOM};

/// One thing that can happen next to them. Links are named by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientStep {
    /// A part of what a daemon's first hook is about.
    Part(u32),
    /// A successor takes in what has come.
    Takes(usize),
    /// A client connects to a daemon.
    Comes(u32),
    Leaves(Token),
    Breaks(usize),
    Loses(usize),
    /// A process that has not begun is of a build with a later layout of states.
    IsLater(u32),
}

impl ClientStep {
    /// Returns whether it happens only so many times.
    pub(crate) fn is_bounded(&self) -> bool {
        !matches!(self, ClientStep::Part(_) | ClientStep::Takes(_))
    }
}

impl Clients {
    /// Returns what the end of a link that sends would do next.
    pub(crate) fn next(&self, pid: u32, part: CarryStep, outgoing: &mut Outgoing) -> Next {
        match part {
            CarryStep::Offer => outgoing.follow(),
            CarryStep::Finish => outgoing.finish(|| self.states(pid)),
            _ => outgoing.confirm(),
        }
    }

    /// Returns whether the part waits for the other end of its link, which runs.
    fn waits(&self, pid: u32, part: CarryStep, runs: impl Fn(u32) -> bool) -> bool {
        if !matches!(part, CarryStep::Offer | CarryStep::Finish | CarryStep::Confirm) {
            return false;
        }
        let Some(process) = self.processes.get(&pid) else { return false };
        let link = self.links.iter().find(|link| link.from == pid && link.from_open);
        let (Some(link), Some(mut outgoing)) = (link, process.outgoing.clone()) else { return false };
        if process.lost || !link.to_open || !runs(link.to) {
            return false;
        }
        match self.next(pid, part, &mut outgoing) {
            Next::Send(_) => link.down.len() >= ROOM,
            Next::Hear => link.up.is_empty(),
            Next::Done => false,
        }
    }
}

impl Model {
    /// The part that is next for a daemon, unless its hook itself is.
    pub(crate) fn client_part(&self, pid: u32) -> Option<CarryStep> {
        let (_, hook) = self.processes.get(&pid)?.hooks.first()?;
        self.clients.as_ref()?.part(pid, hook)
    }

    /// Returns whether the hook that runs, if one does, returns some day.
    pub(crate) fn hook_returns(&self, pid: u32) -> bool {
        let is_next = |process: &super::ModelDaemon| !process.hooks.is_empty() && !process.hung;
        let has_returned =
            |clients: &Clients| clients.processes.get(&pid).is_some_and(|p| p.returned.is_some());
        self.processes.get(&pid).is_some_and(is_next)
            && self.client_part(pid).is_none()
            && !self.clients.as_deref().is_some_and(has_returned)
    }

    /// Returns what goes on by itself.
    pub(crate) fn client_work(&self) -> Vec<ClientStep> {
        let Some(clients) = &self.clients else { return Vec::new() };
        let mut steps = Vec::new();
        for pid in self.processes.keys().copied().filter(|pid| self.runs(*pid)) {
            let goes_on = |part: &CarryStep| !clients.waits(pid, *part, |to| self.runs(to));
            let has_returned = clients.processes.get(&pid).is_some_and(|process| process.returned.is_some());
            let part = self.client_part(pid).map_or(has_returned, |part| goes_on(&part));
            steps.extend(part.then_some(ClientStep::Part(pid)));
        }
        let reads = |link: &CarryLink| link.to_open && !link.down.is_empty() && self.runs(link.to);
        let links = clients.links.iter().enumerate().filter(|(_, link)| reads(link));
        steps.extend(links.map(|(i, _)| ClientStep::Takes(i)));
        steps
    }

    /// Returns what may happen so many times.
    pub(crate) fn client_luck(&self) -> Vec<ClientStep> {
        let Some(clients) = &self.clients else { return Vec::new() };
        let budget = clients.budget;
        let mut found = Vec::new();
        for (i, link) in clients.links.iter().enumerate() {
            // Nothing is read after the end, but that it is revoked.
            let is_taken =
                |to: &u32| clients.processes.get(to).is_some_and(|process| process.incoming.is_whole());
            let whole = link.from_open && link.to_open && !is_taken(&link.to);
            found.extend((budget.breaks > 0 && whole).then_some(ClientStep::Breaks(i)));
            let state = matches!(link.down.front(), Some(Item::State { .. }));
            found.extend((budget.losses > 0 && state && link.to_open).then_some(ClientStep::Loses(i)));
        }
        let is_new = |pid: u32| pid == 1 && self.started == 0 || !self.processes[&pid].has_started;
        for pid in self.processes.keys().copied().filter(|pid| budget.layouts > 0 && is_new(*pid)) {
            found.push(ClientStep::IsLater(pid));
        }
        if budget.comings > 0 {
            let accepts =
                |pid: &u32| self.runs(*pid) && self.lock == Some(*pid) && self.processes[pid].accepts;
            found.extend(self.processes.keys().filter(|pid| accepts(pid)).map(|pid| ClientStep::Comes(*pid)));
            let stays = clients.connections.iter().filter(|(_, connection)| !connection.is_left);
            found.extend(stays.map(|(token, _)| ClientStep::Leaves(*token)));
        }
        found
    }

    pub(crate) fn name_of_client_step(&self, step: &ClientStep) -> String {
        let link = |i: usize| self.clients.as_ref().and_then(|clients| clients.links.get(i));
        let ends = |i: usize| link(i).map_or((0, 0), |link| (link.from, link.to));
        match *step {
            ClientStep::Part(pid) => format!("D{pid}: {}", self.name_of_part(pid)),
            ClientStep::Takes(i) => {
                let what = link(i).and_then(|link| link.down.front()).map_or("nothing", name_of_item);
                format!("D{} takes {what} from D{}", ends(i).1, ends(i).0)
            }
            ClientStep::Comes(pid) => format!("a client connects to D{pid}"),
            ClientStep::Leaves(token) => format!("the client of connection {token} leaves"),
            ClientStep::Breaks(i) => {
                format!("the connections' link of D{} and D{} breaks", ends(i).0, ends(i).1)
            }
            ClientStep::Loses(i) => format!("D{} loses a state that it has received", ends(i).1),
            ClientStep::IsLater(pid) => format!("D{pid} writes states that no other build reads"),
        }
    }

    fn name_of_part(&self, pid: u32) -> String {
        let next = || {
            let clients = self.clients.as_ref()?;
            let mut outgoing = clients.processes.get(&pid)?.outgoing.clone()?;
            Some(clients.next(pid, self.client_part(pid)?, &mut outgoing))
        };
        match (self.client_part(pid), next()) {
            (Some(CarryStep::Offer), None) => "connects to its successor".into(),
            (Some(CarryStep::Offer | CarryStep::Finish), Some(Next::Send(item))) => {
                format!("sends {}", name_of_item(&item))
            }
            (Some(CarryStep::Offer | CarryStep::Finish | CarryStep::Confirm), _) => {
                "hears from its successor".into()
            }
            (Some(CarryStep::Offered), _) => "has offered in vain".into(),
            (Some(CarryStep::TakeBack), _) => "takes its connections back".into(),
            (Some(CarryStep::Adopt), _) => "adopts the connections that have come".into(),
            (None, _) => "is done".into(),
        }
    }
}

/// The process that is to serve after a drain.
pub(crate) fn successor(hook: &AnyHook) -> Option<u32> {
    match hook {
        AnyHook::Incumbent(incumbent::Hook::Drain { successor, .. }) => {
            successor.map(|successor| successor.pid)
        }
        _ => None,
    }
}

fn name_of_item(item: &Item) -> &'static str {
    match item {
        Item::Offer(_) => "an offer",
        Item::Ended(_) => "what has ended",
        Item::State { .. } => "a state",
        Item::AllStates => "that these are all states",
        Item::End(_) => "the end",
        Item::Revoked => "a revocation",
        Item::Received(_) => "what was received",
        Item::Has(_) => "what it has",
        Item::Refused(_) => "a refusal",
        Item::Adopted => "an adoption",
    }
}
