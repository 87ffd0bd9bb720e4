//! The duties of a process, whatever its state: say `Hello` to a peer that connects, answer what it is asked,
//! begin what it is told to do, free the lock before it leaves, and repeat in a heartbeat what was said.
//!
//! Without these, much would be mended by the next heartbeat, question or limit, and only be late. Reads what went over the
//! wire and what was asked of the kernel, and of a machine
//! what every host sees: whether it is done, and which timers are armed.
use handoff::machine::{Machine, Timer};
use handoff::message::{Message, MessageName};
use handoff::time::{Duration, Time};

use crate::explore::model::watch::Observer;
use crate::mutant::foresee;

pub(crate) mod daemon;
pub(crate) mod recovery;
pub(crate) mod supervisor;

/// A timer that has fired does not fire again at once: the process would do nothing else any more.
pub(crate) fn fires_again<M: Machine + Clone + PartialEq>(
    machine: &M,
    timer: Timer,
    event: impl Fn(Timer) -> M::Event,
    watch: &Observer<'_>,
) -> Option<String> {
    // Long after anything that was ever armed.
    let now = Time::from_origin(Duration::from_secs(1_000_000));
    let after = foresee(machine, now, event(timer), watch.meddling.mutation());
    let again = after.timers().is_armed(timer) && after.timers().left(timer, now).is_zero();
    again.then(|| format!("the {}'s timer {} fires again and again", M::ROLE, timer.name()))
}

/// Returns what of `message` is repeated in heartbeats. Greetings and answers may be said again at any time,
/// and are not.
fn part_of_the_handoff(message: &Message) -> Option<MessageName> {
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

/// Notes what a process says, and sees that a heartbeat repeats what it has said last; nothing, if that was over another link.
pub(crate) fn says(said: &mut Option<MessageName>, here: &mut bool, message: &Message) -> Option<String> {
    let repeats = match message {
        Message::Heartbeat { repeats, .. } => repeats.as_deref().and_then(part_of_the_handoff),
        message => {
            let part = part_of_the_handoff(message);
            (*said, *here) = (part.or(*said), *here || part.is_some());
            return None;
        }
    };
    let name = |said: Option<MessageName>| said.map_or("nothing", MessageName::name);
    // Over a new link that may be what could not be said while there was none.
    let afresh = !*here && matches!(repeats, None | Some(MessageName::DrainFailed | MessageName::SealFailed));
    (repeats != *said && !afresh)
        .then(|| format!("{} is repeated, but {} was said last", name(repeats), name(*said)))
}
