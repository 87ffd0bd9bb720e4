//! The duties of a supervisor that recovers, in a turn.
use handoff::message::MessageName;

use crate::explore::model::watch::Observer;
use crate::explore::model::{Life, Model, ModelEnd, ModelLink};

/// Checks that a daemon that has said where it stands is asked for the listening sockets, if they are still
/// missing; and not for the same at once.
pub(in crate::explore) fn hears(
    model: &Model,
    pid: u32,
    name: MessageName,
    watch: &Observer<'_>,
) -> Option<String> {
    let recovery = model.recovery.as_ref().filter(|recovery| recovery.outcome.is_none())?;
    let lives = model.processes.get(&pid).is_some_and(|process| process.life != Life::Dying);
    let is_obliged = name == MessageName::StandingReport && lives && !recovery.has_listeners;
    let asks = watch.asked_of.contains(&(pid, MessageName::ListenersQuery));
    (is_obliged && !asks)
        .then(|| format!("the recovery hears from {pid}, and does not ask for the listening sockets"))
}

/// A daemon that is told that its predecessor has ended is asked what it made of that.
pub(in crate::explore) fn tells(watch: &Observer<'_>) -> Option<String> {
    let told = watch.asked_of.iter().position(|(_, name)| *name == MessageName::Final)?;
    let (pid, _) = watch.asked_of[told];
    let asks = watch.asked_of.get(told + 1) == Some(&(pid, MessageName::StandingQuery));
    (!asks)
        .then(|| format!("the recovery tells {pid} that its predecessor has ended, and does not ask it then"))
}

/// Checks that a recovery that has looked for daemons asks all of them, and those that it knew before.
pub(in crate::explore) fn looks(model: &Model, watch: &Observer<'_>) -> Option<String> {
    let recovery = model.recovery.as_ref().filter(|recovery| watch.looked && recovery.outcome.is_none())?;
    let is_missed = |pid: &&u32| {
        let lives = model.processes.get(pid).is_some_and(|process| process.life != Life::Dying);
        lives && !watch.asked_of.contains(&(**pid, MessageName::StandingQuery))
    };
    let pid = recovery.watched.iter().find(is_missed)?;
    Some(format!("the recovery knows of {pid}, and does not ask it"))
}

/// Checks that the process that the journal names as the one that serves is told so, if its predecessor has
/// ended, and is asked what it made of that.
pub(in crate::explore) fn notes(model: &Model, watch: &Observer<'_>) -> Option<String> {
    let recovery = model.recovery.as_ref().filter(|recovery| recovery.outcome.is_none())?;
    let pid = watch.noted?;
    let heir =
        model.processes.get(&pid).filter(|process| process.life != Life::Dying && !process.finalized)?;
    let predecessor = heir.predecessor?;
    let gone = !model.processes.contains_key(&predecessor) && !recovery.watched.contains(&predecessor);
    let link = |link: &ModelLink| link.end == ModelEnd::Recovery && link.pid == pid && link.supervisor_open;
    let is_obliged = gone && model.links.iter().any(link);
    let to_it = |said: &&(u32, MessageName)| said.0 == pid;
    let said: Vec<MessageName> = watch.asked_of.iter().filter(to_it).map(|(_, name)| *name).collect();
    let tells = said.ends_with(&[MessageName::Final, MessageName::StandingQuery]);
    (is_obliged && !tells).then(|| {
        format!("it is written that {pid} serves, and it is not told that its predecessor has ended")
    })
}
