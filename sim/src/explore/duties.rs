//! What a process owes at once, whatever its state: who is connected to says `Hello`, who is asked answers, who is told to do
//! something begins, who leaves has freed the lock, and a heartbeat repeats what was said.
//!
//! Without these, much would be mended by the next heartbeat, question or limit, and only be late. Reads what went over the
//! wire and what was asked of the kernel, never a machine's own state.
use handoff::machine::supervisor::Peer;
use handoff::machine::{DaemonEvent, Exit, LinkId, Timer};
use handoff::message::Message;

use super::watch::Watch;
use super::world::{End, Link, World};

/// What one that is free to act begins with at once.
const ASKS_OF_A_DAEMON: [&str; 8] =
    ["PrepareHandoff", "SealRequest", "Begin", "Commit", "Retire", "Final", "ResumeAfterAbort", "Abort"];

/// What came to a daemon, and how it stood then.
pub(super) struct Owed {
    pid: u32,
    came: Came,
    /// A hook runs, or an answer is awaited: what it is told takes effect later.
    busy: bool,
    serves: bool,
    /// It was told already that its predecessor has ended.
    finalized: bool,
    /// It is between a drain and its return to service, in a handoff over another link that is open.
    taken: bool,
}

enum Came {
    Connected(LinkId),
    Frame(LinkId, &'static str),
    Beat,
    Else,
}

impl Came {
    fn is_over(&self, link: LinkId) -> bool {
        matches!(self, Came::Frame(over, _) if *over == link)
    }
}

impl Owed {
    pub(super) fn new<D>(world: &World, pid: u32, event: &DaemonEvent<D>) -> Owed {
        let came = match event {
            DaemonEvent::Connected(link) => Came::Connected(*link),
            DaemonEvent::Frame(link, message) => Came::Frame(*link, message.name()),
            DaemonEvent::Timer(Timer::Heartbeat) => Came::Beat,
            _ => Came::Else,
        };
        let link = match came {
            Came::Frame(link, _) => Some(link),
            _ => None,
        };
        let process = world.processes.get(&pid);
        let busy = process.is_some_and(|process| !process.hooks.is_empty() || !process.pending.is_empty());
        let elsewhere = |other: &Link| {
            other.pid == pid && Some(other.id) != link && other.joined && other.daemon_open && other.boss_open
        };
        let serves = process.is_some_and(|process| process.accepts);
        let finalized = process.is_some_and(|process| process.finalized);
        Owed { pid, came, busy, serves, finalized, taken: !serves && world.links.iter().any(elsewhere) }
    }

    /// What was owed and not done.
    pub(super) fn settle(&self, world: &World, watch: &Watch<'_>) -> Option<String> {
        let process = world.processes.get(&self.pid)?;
        if let Some(exit) = &process.exited {
            return leaves(world, self.pid, exit);
        }
        let sent =
            |link: LinkId, name: &str| watch.sent.iter().any(|(to, what)| *to == link && *what == name);
        let pid = self.pid;
        match self.came {
            Came::Connected(link) if !sent(link, "Hello") => {
                Some(format!("{pid} is connected to, and says nothing"))
            }
            Came::Frame(link, "StandingQuery") if !sent(link, "StandingReport") => {
                Some(format!("{pid} is asked where it stands, and does not answer"))
            }
            Came::Frame(link, "ListenersQuery") if !sent(link, "Listeners") => {
                Some(format!("{pid} is asked for its listening sockets, and does not answer"))
            }
            Came::Frame(link, "HelloAck") if self.taken && !sent(link, "Busy") => {
                Some(format!("{pid} is in a handoff, and does not tell another supervisor so"))
            }
            Came::Frame(_, asks) if self.is_free_to(world, asks) && !watch.did_something() => {
                Some(format!("{pid} is told {asks}, and does nothing"))
            }
            Came::Beat
                if owes_a_beat(world, pid) && !watch.sent.iter().any(|(_, what)| *what == "Heartbeat") =>
            {
                Some(format!("{pid} says no heartbeat when it is due"))
            }
            _ => watch.closed.iter().find_map(|link| self.closes(*link, watch)),
        }
    }

    /// It has nothing else to do first, and has not done it already, while its supervisor was silent.
    fn is_free_to(&self, world: &World, asks: &str) -> bool {
        let joined = |link: &Link| link.pid == self.pid && link.joined && self.came.is_over(link.id);
        let done = match asks {
            "Final" => self.finalized,
            "ResumeAfterAbort" => self.serves,
            "Begin" => world.lock == Some(self.pid),
            "Commit" => world.path == Some(self.pid),
            _ => false,
        };
        !self.busy && !done && world.links.iter().any(joined) && ASKS_OF_A_DAEMON.contains(&asks)
    }

    /// Who closes a link on a supervisor that has just spoken says why.
    fn closes(&self, link: LinkId, watch: &Watch<'_>) -> Option<String> {
        let told = watch.sent.iter().any(|(to, what)| *to == link && matches!(*what, "Busy" | "Refused"));
        let spoken = matches!(self.came, Came::Frame(from, _) if from == link);
        (spoken && !told).then(|| format!("{} closes a link without a word", self.pid))
    }
}

fn owes_a_beat(world: &World, pid: u32) -> bool {
    let open =
        |link: &Link| link.pid == pid && link.joined && link.daemon_open && link.boss_open && !link.reset;
    world.links.iter().any(open)
}

/// Who leaves by himself has freed the lock: a process that he has forked may have it as well.
fn leaves(world: &World, pid: u32, exit: &Exit) -> Option<String> {
    let holds = world.lock == Some(pid) && *exit != Exit::HookLimit;
    holds.then(|| format!("{pid} leaves ({exit:?}) with the lock"))
}

impl World {
    /// Notes what is said over a link, and sees that a heartbeat repeats what was said last.
    pub(super) fn speaks_over(link: &mut Link, up: bool, message: &Message) -> Option<String> {
        let said = if up { &mut link.said_up } else { &mut link.said_down };
        match message {
            Message::Heartbeat { repeats: Some(repeats), .. } => {
                let repeats = repeats.name();
                let wrong = said.is_some_and(|said| said != repeats);
                let who = if up { format!("{}", link.pid) } else { "the supervisor".into() };
                wrong.then(|| {
                    format!("{who} repeats {repeats}, and has said {} last", said.unwrap_or_default())
                })
            }
            // Greetings and answers may be said again at any time, and are not repeated then.
            Message::Heartbeat { repeats: None, .. }
            | Message::Hello(_)
            | Message::HelloAck(_)
            | Message::StandingReport { .. }
            | Message::StandingQuery
            | Message::ListenersQuery
            | Message::Listeners { .. }
            | Message::Busy
            | Message::Refused { .. }
            | Message::Status(_)
            | Message::StatusQuery
            | Message::SealProgress { .. } => None,
            message => {
                *said = Some(message.name());
                None
            }
        }
    }
}

/// What came to the supervisor of a handoff: who says something for the first time is heard, unless it does not matter any
/// more. `busy`: an answer is awaited first.
pub(super) fn boss_hears(
    world: &World,
    busy: bool,
    peer: Peer,
    name: &'static str,
    watch: &Watch<'_>,
) -> Option<String> {
    let boss = world.boss.as_ref().filter(|boss| !busy && boss.outcome.is_none())?;
    let said = |to: Peer, name: &str| {
        world.links.iter().any(|link| link.end == End::Boss(to) && link.said_down == Some(name))
    };
    // Who is not well may have been given up, and then it matters no more what he says.
    let well = |peer: Peer, pid: Option<u32>| {
        let lives = pid.is_none_or(|pid| world.processes.get(&pid).is_some_and(|process| process.is_well()));
        let link = |link: &Link| {
            let open = link.boss_open && link.daemon_open && !link.reset;
            link.end == End::Boss(peer) && open && (link.joined || name == "Hello")
        };
        lives && (pid.is_none() || world.links.iter().any(link))
    };
    let all_well = well(Peer::Incumbent, boss.incumbent) && well(Peer::Successor, boss.successor);
    let elsewhere = said(Peer::Incumbent, "ResumeAfterAbort") || said(Peer::Successor, "Abort") || boss.late;
    // It was there before the incumbent's word was.
    let ahead = said(Peer::Successor, "Commit") || said(Peer::Incumbent, "Retire");
    let others_end = boss.successor.is_some_and(|pid| !boss.told.contains(&pid));
    let matters = match name {
        "Hello" | "Warmed" | "Drained" | "DrainFailed" | "SealComplete" | "SealFailed" | "Ready"
        | "Failed" | "Serving" => all_well && !elsewhere && !(ahead && peer == Peer::Incumbent),
        "Resumed" => !others_end,
        _ => false,
    };
    let deaf = matters && !watch.did_something();
    let mute =
        name == "Hello" && matters && !watch.said.contains(&(peer, "HelloAck")) && watch.said.is_empty();
    match () {
        () if deaf => Some(format!("the supervisor hears {name} from {peer:?}, and does nothing")),
        () if mute => Some(format!("the supervisor is greeted by {peer:?}, and does not answer")),
        () => None,
    }
}
