//! What a process owes at once, whatever its state: who is connected to says `Hello`, who is asked answers, who is told to do
//! something begins, who leaves has freed the lock, and a heartbeat repeats what was said.
//!
//! Without these, much would be mended by the next heartbeat, question or limit, and only be late. Reads what went over the
//! wire and what was asked of the kernel, never a machine's own state.
use handoff::machine::supervisor::Peer;
use handoff::machine::{DaemonEvent, Exit, LinkId, Machine, Timer};
use handoff::message::Message;
use handoff::time::{Duration, Time};

use super::watch::Watch;
use super::world::{End, Link, World};
use crate::mutant::foresee;

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
    /// It holds the lock.
    locked: bool,
    /// And is not about to free it.
    keeps_lock: bool,
    /// It was told already that its predecessor has ended.
    finalized: bool,
    /// It is between a drain and its return to service: another supervisor has to come later.
    taken: bool,
    /// It was told to come back while a hook ran, and not to stop.
    told_to_resume: bool,
}

enum Came {
    Connected(LinkId),
    Frame(LinkId, &'static str),
    /// Its drain or seal has returned.
    Back,
    Beat,
    Else,
}

impl Came {
    fn is_over(&self, link: LinkId) -> bool {
        matches!(self, Came::Frame(over, _) if *over == link)
    }
}

impl Owed {
    pub(super) fn new<D>(world: &World, pid: u32, event: &DaemonEvent<D>, watch: &Watch<'_>) -> Owed {
        let came = match event {
            DaemonEvent::Connected(link) => Came::Connected(*link),
            DaemonEvent::Frame(link, message) => Came::Frame(*link, message.name()),
            DaemonEvent::Timer(Timer::Heartbeat) => Came::Beat,
            DaemonEvent::HookDone(..) if watch.left_service => Came::Back,
            _ => Came::Else,
        };
        let process = world.processes.get(&pid);
        let busy = process.is_some_and(|process| !process.hooks.is_empty() || !process.pending.is_empty());
        let handoff = process.and_then(|process| process.handoff);
        let asks = |link: &Link| {
            came.is_over(link.id)
                && link.end == End::Boss(Peer::Incumbent)
                && Some(link.handoff_id) != handoff
        };
        let serves = process.is_some_and(|process| process.accepts);
        Owed {
            pid,
            busy,
            serves,
            locked: world.lock == Some(pid),
            keeps_lock: world.lock == Some(pid) && process.is_some_and(|process| !process.seals()),
            finalized: process.is_some_and(|process| process.finalized),
            taken: !serves && world.links.iter().any(asks),
            told_to_resume: process.is_some_and(|process| process.told_to_resume)
                && world.signalled != Some(pid),
            came,
        }
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
            Came::Back
                if self.told_to_resume
                    && !watch.asked_for(&["StartResume", "Lock", "WriteRecord", "Exit"]) =>
            {
                Some(format!("{pid} was told to come back, and goes on"))
            }
            Came::Beat
                if owes_a_beat(world, pid) && !watch.sent.iter().any(|(_, what)| *what == "Heartbeat") =>
            {
                Some(format!("{pid} says no heartbeat when it is due"))
            }
            _ => self.breaks_off(watch).or_else(|| self.idles_with_the_lock(world, watch)),
        }
    }

    /// It has nothing else to do first, and has not done it already, while its supervisor was silent.
    fn is_free_to(&self, world: &World, asks: &str) -> bool {
        let joined = |link: &Link| link.pid == self.pid && link.joined && self.came.is_over(link.id);
        let done = match asks {
            "Final" => self.finalized || !self.keeps_lock,
            "ResumeAfterAbort" => self.serves,
            "Begin" => world.lock == Some(self.pid),
            "Commit" => world.path == Some(self.pid),
            _ => false,
        };
        // That its predecessor has ended concerns nothing else that it does.
        let busy = self.busy && asks != "Final";
        !busy && !done && world.links.iter().any(joined) && ASKS_OF_A_DAEMON.contains(&asks)
    }

    /// Who has got the lock writes down that it is his, or gives it back.
    fn idles_with_the_lock(&self, world: &World, watch: &Watch<'_>) -> Option<String> {
        let got = !self.locked && world.lock == Some(self.pid);
        let idles = got && !watch.asked_for(&["WriteRecord"]);
        idles.then(|| format!("{} has got the lock, and does nothing with it", self.pid))
    }

    /// Who closes a link on a supervisor that has just spoken says why; and who says why closes it.
    fn breaks_off(&self, watch: &Watch<'_>) -> Option<String> {
        let Came::Frame(link, _) = self.came else { return None };
        let told = watch.sent.iter().any(|(to, what)| *to == link && matches!(*what, "Busy" | "Refused"));
        let closed = watch.closed.contains(&link);
        match (told, closed) {
            (false, true) => Some(format!("{} closes a link without a word", self.pid)),
            (true, false) => Some(format!("{} turns somebody away, and keeps the link", self.pid)),
            (true, true) | (false, false) => None,
        }
    }
}

fn owes_a_beat(world: &World, pid: u32) -> bool {
    let open =
        |link: &Link| link.pid == pid && link.joined && link.daemon_open && link.boss_open && !link.reset;
    world.links.iter().any(open)
}

/// A timer that has fired does not fire again at once: the process would do nothing else any more.
pub(super) fn fires_again<M: Machine + Clone + PartialEq>(
    machine: &M,
    timer: Timer,
    event: impl Fn(Timer) -> M::Event,
    watch: &Watch<'_>,
) -> Option<String> {
    // Long after anything that was ever armed.
    let now = Time::from_origin(Duration::from_secs(1_000_000));
    let after = foresee(machine, now, event(timer), watch.meddling.mutation());
    let again = after.timers().is_armed(timer) && after.timers().left(timer, now).is_zero();
    again.then(|| format!("the {}'s timer {} fires again and again", M::ROLE, timer.name()))
}

/// Who leaves by himself has freed the lock: a process that he has forked may have it as well.
fn leaves(world: &World, pid: u32, exit: &Exit) -> Option<String> {
    let holds = world.lock == Some(pid) && *exit != Exit::HookLimit;
    holds.then(|| format!("{pid} leaves ({exit:?}) with the lock"))
}

/// What of `message` is repeated in heartbeats. Greetings and answers may be said again at any time, and are not.
fn part_of_the_handoff(message: &Message) -> Option<&'static str> {
    match message {
        Message::Heartbeat { .. }
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
        message => Some(message.name()),
    }
}

/// Notes what somebody says, and sees that a heartbeat repeats what he has said last.
pub(super) fn says(said: &mut Option<&'static str>, message: &Message) -> Option<String> {
    let repeats = match message {
        Message::Heartbeat { repeats: Some(repeats), .. } => part_of_the_handoff(repeats),
        message => {
            *said = part_of_the_handoff(message).or(*said);
            return None;
        }
    };
    let last = said.unwrap_or("nothing");
    repeats
        .filter(|repeats| *repeats != last)
        .map(|repeats| format!("{repeats} is repeated, but {last} was said last"))
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
        world.links.iter().any(|link| link.end == End::Boss(to) && link.said == Some(name))
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
    let mute = name == "Hello" && matters && !watch.said.contains(&(peer, "HelloAck"));
    match () {
        () if deaf => Some(format!("the supervisor hears {name} from {peer:?}, and does nothing")),
        () if mute => Some(format!("the supervisor is greeted by {peer:?}, and does not answer")),
        () => None,
    }
}
