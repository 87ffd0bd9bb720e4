//! The connections of clients that stay, as the kernel and the two ends of the carrying have them.
//!
//! The kernel's: which processes hold a connection's descriptor, those that lie unread in a link included; which of them reads it;
//! and what a process needs that goes on with it, which changes with every process that reads. A process reads, as soon as it may,
//! what leaves every other copy of that state behind. The two ends are production's [`Outgoing`] and [`Incoming`].
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use handoff::carry::{Carried, CarryHook, CarryStep, ConnectionState, Incoming, Item, Outgoing, Token};
use handoff::machine::ExitReason;
use handoff::node::daemon::Hook as AnyHook;
use handoff::record::Record;
use serde::{Deserialize, Serialize};

use super::connection::{ClientConnection, LetsGo};
use super::flaws::CarryFlaw;
use super::passing;
use crate::program::carry_hook;

/// The connections that there are, and what may go wrong with them, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientBudget {
    /// The number of connections at first. The first is between two requests; of the others half a request
    /// was read, and half a reply is not sent.
    pub connections: u8,
    /// The link between an incumbent and its successor breaks, or either of them finds nonsense in it.
    pub breaks: u8,
    /// A successor loses a state that it has received.
    pub losses: u8,
    /// A build writes states in a layout that the others can't read.
    pub layouts: u8,
    /// No fault: a client leaves, or another one comes.
    pub comings: u8,
}

impl ClientBudget {
    /// All of it has happened; the connections stay.
    pub(crate) fn spent(self) -> ClientBudget {
        ClientBudget { connections: self.connections, ..ClientBudget::default() }
    }
}

/// So many items are in a link before its sender has to wait.
pub(crate) const ROOM: usize = 2;

/// The link between an incumbent and its successor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CarryLink {
    pub from: u32,
    pub to: u32,
    /// The items that are on their way to the successor. The descriptors that an offer names lie beside it.
    pub down: VecDeque<Item>,
    pub up: VecDeque<Item>,
    pub from_open: bool,
    pub to_open: bool,
    /// The end that was sent over it, and not revoked.
    pub end: Option<Carried>,
}

/// The connections that one process knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CarryProcess {
    /// Its own connections, with what it knows of them.
    pub own: BTreeMap<Token, ConnectionState>,
    /// As an incumbent: its end of the link.
    pub outgoing: Option<Outgoing>,
    /// `true` if what was to be sent before a hook could not be sent.
    pub lost: bool,
    /// As a successor: its end of the link, and what has come over it.
    pub incoming: Incoming,
    pub states: BTreeMap<Token, ConnectionState>,
    pub arrived: BTreeSet<Token>,
    /// The number of parts of what its first hook is about that are done; and that hook has returned what is
    /// good enough, or not.
    pub done: usize,
    pub returned: Option<bool>,
    /// `true` if the process writes states that others can't read.
    pub is_later: bool,
}

/// All connections of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clients {
    pub budget: ClientBudget,
    pub flaw: Option<CarryFlaw>,
    pub connections: BTreeMap<Token, ClientConnection>,
    pub links: Vec<CarryLink>,
    pub processes: BTreeMap<u32, CarryProcess>,
    pub next: Token,
}

impl Clients {
    /// Process 1 serves those that there are at first.
    pub(crate) fn new(budget: ClientBudget, flaw: Option<CarryFlaw>) -> Option<Box<Clients>> {
        let mut clients = Clients {
            budget,
            flaw,
            connections: BTreeMap::new(),
            links: Vec::new(),
            processes: BTreeMap::new(),
            next: 0,
        };
        for nth in 0..budget.connections {
            let half = if nth == 0 { Vec::new() } else { vec![0] };
            let state = ConnectionState { input: half.clone(), output: half, ..ConnectionState::default() };
            clients.comes(1, state);
        }
        (budget.connections > 0).then(|| Box::new(clients))
    }

    /// A client connects to `pid`.
    pub(crate) fn comes(&mut self, pid: u32, state: ConnectionState) {
        let token = self.next;
        self.next += 1;
        self.process(pid).own.insert(token, state.clone());
        self.process(pid).outgoing.iter_mut().for_each(|outgoing| outgoing.opened(token));
        let connection = ClientConnection {
            holders: BTreeSet::from([pid]),
            readers: BTreeSet::from([pid]),
            state,
            last_reader: pid,
            served_by_another: false,
            has_died: false,

            is_left: false,
        };
        self.connections.insert(token, connection);
    }

    /// A client closes its connection. The process that reads it finds that at once.
    pub(crate) fn leaves(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.is_left = true;
        for pid in connection.readers.clone() {
            self.process(pid).own.remove(&token);
            self.process(pid).outgoing.iter_mut().for_each(|outgoing| outgoing.closed(token));
            // That it ends is the client's doing.
            self.lets_go(pid, token, LetsGo::Ends);
        }
    }

    pub(crate) fn process(&mut self, pid: u32) -> &mut CarryProcess {
        self.processes.entry(pid).or_default()
    }

    /// All parts that belong to a hook, before it and after it.
    fn all_parts(&self, course: CarryHook) -> (Vec<CarryStep>, Vec<CarryStep>) {
        let (before, after) = (course.before().to_vec(), course.after().to_vec());
        match self.flaw {
            Some(flaw) => flaw.parts(course, before, after),
            None => (before, after),
        }
    }

    /// Those that are left to do, as far as there is anything to do.
    fn parts(&self, pid: u32, hook: &AnyHook) -> (Vec<CarryStep>, Vec<CarryStep>) {
        let Some(course) = carry_hook(hook) else { return Default::default() };
        let process = self.processes.get(&pid);
        let has_link = self.links.iter().any(|link| link.to == pid && link.to_open);
        let has_any = process.is_some_and(|process| !process.own.is_empty());
        let matters = |part: &CarryStep| match part {
            CarryStep::Offer => has_any,
            CarryStep::Offered => process.is_some_and(|process| process.lost),
            CarryStep::Finish | CarryStep::Confirm | CarryStep::TakeBack => {
                process.is_some_and(|p| p.outgoing.is_some())
            }
            CarryStep::Adopt => has_link,
        };
        let (before, after) = self.all_parts(course);
        // What was done once may not matter any more, and counts all the same.
        let done = process.map_or(0, |process| process.done);
        let left =
            |parts: Vec<CarryStep>, done: usize| parts.into_iter().skip(done).filter(matters).collect();
        let (in_before, in_after) = (done.min(before.len()), done.saturating_sub(before.len()));
        (left(before, in_before), left(after, in_after))
    }

    /// The part that is next for `pid` in `hook`; `None` if that is the hook itself, or nothing.
    pub(crate) fn part(&self, pid: u32, hook: &AnyHook) -> Option<CarryStep> {
        let (before, after) = self.parts(pid, hook);
        let has_returned = self.processes.get(&pid).is_some_and(|process| process.returned.is_some());
        if has_returned { after.first().copied() } else { before.first().copied() }
    }

    /// A part of `hook` is done, and with it those before it that did not matter.
    pub(crate) fn part_done(&mut self, pid: u32, hook: &AnyHook, part: CarryStep) {
        let Some(course) = carry_hook(hook) else { return };
        let (before, after) = self.all_parts(course);
        let at = before.iter().chain(&after).position(|one| *one == part);
        self.process(pid).done = at.map_or(0, |at| at + 1);
    }

    /// The link over which `pid` sends.
    pub(crate) fn link_from(&mut self, pid: u32) -> Option<&mut CarryLink> {
        self.links.iter_mut().find(|link| link.from == pid && link.from_open)
    }

    /// The connections that `pid` has and goes on with, or wants another process to.
    pub(crate) fn open(&self, pid: u32) -> BTreeSet<Token> {
        self.processes.get(&pid).map(|process| process.own.keys().copied().collect()).unwrap_or_default()
    }

    /// `pid` reads from the connection on, from what it knows of it, which was so when `after` had read. Returns what is wrong with
    /// that.
    #[must_use]
    pub(crate) fn reads(&mut self, pid: u32, token: Token, after: u32) -> Option<String> {
        let known = self.processes.get(&pid)?.own.get(&token).cloned()?;
        let connection = self.connections.get_mut(&token)?;
        let wrong = passing::goes_on(pid, token, connection, after, &known);
        let next = |bytes: &[u8]| bytes.iter().map(|byte| (byte + 1) % 4).collect::<Vec<u8>>();
        let state = &connection.state;
        connection.state = ConnectionState {
            input: next(&state.input),
            output: next(&state.output),
            ..ConnectionState::default()
        };
        connection.readers.insert(pid);
        (connection.last_reader, connection.served_by_another, connection.has_died) = (pid, false, false);
        let state = connection.state.clone();
        if connection.is_left {
            self.leaves(token);
        } else {
            self.process(pid).own.insert(token, state);
        }
        wrong
    }

    /// `pid` closes its descriptor. Returns what is wrong with that, if the connection ends by it.
    #[must_use]
    pub(crate) fn closes(&mut self, pid: u32, token: Token, why: LetsGo) -> Option<String> {
        self.process(pid).own.remove(&token);
        self.lets_go(pid, token, why)
    }

    fn lets_go(&mut self, pid: u32, token: Token, why: LetsGo) -> Option<String> {
        let connection = self.connections.get_mut(&token)?;
        connection.holders.remove(&pid);
        connection.readers.remove(&pid);

        self.ends(pid, token, why)
    }

    /// The connection ends if no descriptor of it is left.
    fn ends(&mut self, pid: u32, token: Token, why: LetsGo) -> Option<String> {
        let connection = self.connections.get(&token)?;
        let offers = |item: &Item| matches!(item, Item::Offer(tokens) if tokens.contains(&token));
        if !connection.holders.is_empty() || self.links.iter().any(|link| link.down.iter().any(offers)) {
            return None;
        }
        let is_ended = self.links.iter().any(|link| link.to == pid && link.end.is_some());
        let wrong = passing::ends(pid, token, connection, why, is_ended);
        self.connections.remove(&token);
        wrong
    }

    /// `pid` ends the connection for all that have it.
    #[must_use]
    pub(crate) fn shuts_down(&mut self, pid: u32, token: Token) -> Option<String> {
        let connection = self.connections.remove(&token)?;
        self.processes.values_mut().for_each(|process| _ = process.own.remove(&token));
        passing::is_shut_down(pid, token, &connection)
    }

    /// A process has ended, or is about to: it has nothing any more. What it has sent stays where it is; what it was sent does not.
    #[must_use]
    pub(crate) fn dies(&mut self, pid: u32, exit: Option<&ExitReason>) -> Option<String> {
        let retires = matches!(exit, Some(ExitReason::Retired));
        let mut wrong = None;
        if retires && self.flaw == Some(CarryFlaw::ShutsDown) {
            for token in self.open(pid) {
                wrong = wrong.or(self.shuts_down(pid, token));
            }
        }
        let why = if retires { LetsGo::Retires } else { LetsGo::Ends };
        for link in self.links.iter_mut().filter(|link| link.to == pid || link.from == pid) {
            if link.to == pid {
                link.down.clear();
                link.to_open = false;
            } else {
                link.up.clear();
                link.from_open = false;
            }
        }
        for connection in self.connections.values_mut().filter(|connection| connection.holders.contains(&pid))
        {
            connection.has_died |= match connection.last_reader == pid {
                true => !retires,
                false => connection.served_by_another,
            };
        }
        self.processes.remove(&pid);
        for token in self.connections.keys().copied().collect::<Vec<_>>() {
            wrong = wrong.or(self.lets_go(pid, token, why));
        }
        self.processes.remove(&pid);
        self.forget_links();
        wrong
    }

    /// A link of which neither end matters any more is not there.
    pub(crate) fn forget_links(&mut self) {
        self.links.retain(|link| link.from_open || link.to_open);
    }

    /// `pid` has written the record.
    pub(crate) fn recorded(&mut self, pid: u32, record: &Record) {
        for connection in self.connections.values_mut().filter(|_| record.serving) {
            connection.served_by_another |=
                pid != connection.last_reader && connection.holders.contains(&pid);
        }
    }
}
