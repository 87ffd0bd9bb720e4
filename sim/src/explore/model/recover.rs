//! The supervisor that takes stock, on the searched kernel: its host, what can happen to it, what must hold of it.
use std::collections::BTreeSet;
use std::sync::Arc;

use handoff::ProcessId;
use handoff::host::*;
use handoff::machine::{
    Machine, Recovery, Timer,
    recovery::{self, Awaited, Config, Event, Outcome, Sight, Sighting, Verdict},
};
use handoff::message::Message;

use super::host::Host;
use super::journal;
use super::steps::Step;
use super::watch::Watch;
use super::{Daemon, End, LIVENESS, Life, Link, Process, SECOND, Surveyor, World, id};
use crate::explore::checks;
use crate::explore::checks::duties;
use crate::explore::report::names;
use crate::mutation::mutant::drive;

impl World {
    fn survey(&mut self, watch: &mut Watch<'_>) {
        let config = Config {
            liveness: LIVENESS,
            unreachable_limit: 60 * SECOND,
            retire_limit: 10 * SECOND,
            deadline: 300 * SECOND,
            take_listeners: true,
        };
        // A supervisor that is merely stopped holds its journal.
        let has_journal = self.idle();
        self.surveyor = Some(Surveyor {
            machine: Recovery::new(config),
            stopped: false,
            has_journal,
            knows: if has_journal { self.journal.clone() } else { Arc::default() },
            watched: Vec::new(),
            named: BTreeSet::new(),
            has_listeners: false,
            killed: BTreeSet::new(),
            asked: BTreeSet::new(),
            refused: Vec::new(),
            pending: Vec::new(),
            journal_failed: false,
            outcome: None,
        });
        self.surveys(Event::Start, watch)
    }

    /// Lets a step of its happen.
    pub(crate) fn surveyor_acts(&mut self, step: &Step, watch: &mut Watch<'_>) {
        match *step {
            Step::Recover => self.survey(watch),
            Step::TellSurveyor(pid) => self.tell_surveyor(pid, watch),
            Step::Refused(pid) => {
                self.surveyor.iter_mut().for_each(|surveyor| {
                    surveyor.refused.remove(0);
                });
                self.surveys(Event::Closed(id(pid)), watch);
            }
            Step::SurveyorComplete => self.surveyor_complete(true, watch),
            Step::SurveyorTimer(timer) => self.surveys(Event::Timer(timer), watch),
            Step::ContinueSurveyor => self.surveyor.iter_mut().for_each(|surveyor| surveyor.stopped = false),
            _ => {}
        }
    }

    fn tell_surveyor(&mut self, pid: u32, watch: &mut Watch<'_>) {
        let its = |link: &&mut Link| link.pid == pid && link.end == End::Surveyor;
        self.links.iter_mut().filter(its).for_each(|link| link.supervisor_open = false);
        if let Some(surveyor) = &mut self.surveyor {
            surveyor.watched.retain(|watched| *watched != pid);
            surveyor.asked.remove(&pid);
        }
        self.surveys(Event::Ended(id(pid)), watch)
    }

    /// Lets the surveyor handle `event`.
    pub(crate) fn surveys(&mut self, event: Event, watch: &mut Watch<'_>) {
        let Some(mut machine) = self.surveyor.as_ref().map(|surveyor| surveyor.machine.clone()) else {
            return;
        };
        if let Event::Timer(timer) = &event {
            self.violated(duties::fires_again(&machine, *timer, Event::Timer, watch));
        }
        let mut meddling = watch.meddling.take();
        let mut host = Host { world: self, pid: 0, watch };
        let lives = drive(&mut machine, &mut host, event, &mut meddling).is_continue();
        watch.meddling = meddling;
        match &mut self.surveyor {
            Some(surveyor) if lives => surveyor.machine = machine,
            _ => return self.surveyor_dies(),
        }
        let mute = self
            .surveyor
            .as_ref()
            .is_some_and(|surveyor| surveyor.machine.is_done() && surveyor.outcome.is_none());
        self.violated(mute.then(|| "the recovery is done, and reports nothing".into()));
        self.violated(duties::recovery::looks(self, watch));
        self.violated(duties::recovery::tells(watch));
        self.violated(duties::recovery::notes(self, watch));
    }

    /// What can happen to it next, but for timers. Ends come before anything else.
    pub(crate) fn surveyor_steps(&self, steps: &mut Vec<Step>) {
        let Some(surveyor) = self.surveyor.as_ref().filter(|_| self.surveyor_runs() && !self.surveyed())
        else {
            return;
        };
        let ended = surveyor.watched.iter().find(|pid| !self.processes.contains_key(pid));
        if let Some(pid) = ended {
            return steps.push(Step::TellSurveyor(*pid));
        }
        steps.extend(surveyor.refused.first().map(|pid| Step::Refused(*pid)));
        steps.extend((!surveyor.pending.is_empty()).then_some(Step::SurveyorComplete));
        for (i, link) in
            self.links.iter().enumerate().filter(|(_, l)| l.end == End::Surveyor && l.supervisor_open)
        {
            if !link.up.is_empty() {
                steps.push(Step::Up(i));
            } else if !link.daemon_open || link.reset {
                steps.push(Step::UpClosed(i));
            }
        }
    }

    pub(crate) fn surveyor_timers(&self, quiet: bool, steps: &mut Vec<Step>) {
        let Some(surveyor) = self.surveyor.as_ref().filter(|surveyor| !surveyor.stopped) else { return };
        let mut busy = Vec::new();
        self.surveyor_steps(&mut busy);
        // Whoever runs has answered before it is asked again.
        let waits = self.links.iter().any(|link| {
            link.end == End::Surveyor && self.runs(link.pid) && link.supervisor_open && !link.down.is_empty()
        });
        if !busy.is_empty() || waits {
            return;
        }
        let armed = |timer: &Timer| surveyor.machine.timers().is_armed(*timer);
        for timer in Timer::ALL.into_iter().filter(armed) {
            let fires = match timer {
                Timer::Heartbeat => quiet || !self.faults.sparse,
                // Many questions fit into it: whoever runs has answered one.
                Timer::Patience => !surveyor.asked.iter().any(|pid| self.runs(*pid)),
                Timer::IncumbentSilent => surveyor.asked.iter().any(|pid| !self.runs(*pid)),
                // All have answered, and a hook keeps one from serving.
                Timer::Deadline => {
                    let hung = self.processes.values().any(|process| process.hung);
                    quiet && hung && surveyor.asked.is_empty() && !armed(&Timer::Patience)
                }
                _ => false,
            };
            steps.extend(fires.then_some(Step::SurveyorTimer(timer)));
        }
    }

    pub(crate) fn surveyor_hears(&mut self, pid: u32, message: Message, watch: &mut Watch<'_>) {
        match (&mut self.surveyor, &message) {
            (Some(surveyor), Message::StandingReport { .. }) => {
                surveyor.asked.remove(&pid);
            }
            (Some(surveyor), Message::Listeners { more: false, .. }) => {
                surveyor.has_listeners |= !surveyor.killed.contains(&pid);
            }
            _ => {}
        }
        let name = message.name();
        self.surveys(Event::Frame(id(pid), message), watch);
        if watch.crash.is_none() {
            self.violated(duties::recovery::hears(self, pid, name, watch));
        }
    }

    pub(crate) fn surveyor_complete(&mut self, good: bool, watch: &mut Watch<'_>) {
        let Some(surveyor) = &mut self.surveyor else { return };
        let event = match surveyor.pending.remove(0) {
            Awaited::Look(also) => {
                watch.looked = true;
                Event::Looked(self.sightings(also))
            }
            Awaited::Note(verdict) => {
                watch.noted = self.heir_that_is_free(verdict).filter(|_| good);
                Event::Noted(verdict, self.note_survey(verdict, good))
            }
            Awaited::Finish(_) => return,
        };
        self.surveys(event, watch)
    }

    /// Sockets lie beside the path from a process's first turn to its end.
    fn sightings(&mut self, also: Option<ProcessId>) -> Vec<Sighting> {
        let Some(surveyor) = &mut self.surveyor else { return Vec::new() };
        let (incumbent, successor) = surveyor.under_way();
        let holder = self.record.as_ref().map(|record| record.holder);
        let named = [incumbent, journal::running(&surveyor.knows), holder, self.path.map(id)];
        let seen = self.processes.iter().filter_map(|(pid, process)| {
            let this = Some(id(*pid));
            let sight = match () {
                () if successor == this => Sight::Successor,
                () if named.contains(&this) => Sight::Incumbent,
                () if process.begun || also == this => Sight::Beside,
                () => return None,
            };
            Some(Sighting { process: id(*pid), sight })
        });
        let sightings: Vec<Sighting> = seen.collect();
        let is_named = |sighting: &&Sighting| sighting.sight != Sight::Beside;
        surveyor.named.extend(sightings.iter().filter(is_named).map(|sighting| sighting.process.pid));
        surveyor.watched.extend(sightings.iter().map(|sighting| sighting.process.pid));
        surveyor.watched.sort_unstable();
        surveyor.watched.dedup();
        sightings
    }

    /// Who serves, unless it is still to answer.
    fn heir_that_is_free(&self, verdict: Verdict) -> Option<u32> {
        let Verdict::Serves(process) = verdict else { return None };
        let asked = self.surveyor.as_ref().is_some_and(|surveyor| surveyor.asked.contains(&process.pid));
        (!asked).then_some(process.pid)
    }
}

impl Transport<ProcessId> for Host<'_, '_> {
    fn send(&mut self, to: ProcessId, message: &Message) {
        let has_journal = self.world.surveyor.as_ref().is_some_and(|surveyor| surveyor.has_journal);
        if let (true, Message::Final { .. }) = (has_journal, message) {
            self.world.violated(checks::finalizes(self.world, to.pid));
        }
        self.watch.tells(|| names::daemon(to.pid), message);
        self.watch.asked_of.push((to.pid, message.name()));
        if let Some(surveyor) = &mut self.world.surveyor {
            match message {
                Message::StandingQuery => {
                    surveyor.asked.insert(to.pid);
                }
                Message::ListenersQuery if surveyor.has_listeners => {
                    self.world
                        .violated(Some("the recovery asks for the listening sockets, and has them".into()));
                }
                _ => {}
            }
        }
        let refused = self.world.surveyor.as_ref().is_some_and(|surveyor| surveyor.refused.contains(&to.pid));
        let mine = |link: &&mut Link| link.end == End::Surveyor && link.pid == to.pid;
        let mut links =
            self.world.links.iter_mut().filter(mine).filter(|link| link.supervisor_open).peekable();
        if links.peek().is_none() && !refused {
            let wrong = format!("the recovery says {} to {}, to whom it has no link", message.name(), to.pid);
            return self.world.violated(Some(wrong));
        }
        if let Some(link) = links.find(|link| link.daemon_open && !link.reset) {
            // A question that was not read yet is not asked twice.
            if link.down.back() != Some(message) {
                link.down.push_back(message.clone());
            }
        }
    }

    fn close(&mut self, _link: ProcessId) {}
}

impl Discovery for Host<'_, '_> {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Vec<Sighting>> {
        self.watch.did(|| "looks".into());
        if self.defers() {
            self.world.surveyor.iter_mut().for_each(|s| s.pending.push(Awaited::Look(also)));
            return None;
        }
        self.watch.looked = true;
        Some(self.world.sightings(also))
    }

    fn connect(&mut self, to: ProcessId) {
        self.watch.did(|| format!("connects to D{to}"));
        let listens = self.world.processes.get(&to.pid).is_some_and(|process| process.begun);
        if listens && self.world.listens(to.pid) {
            self.world.link(End::Surveyor, to.pid);
        } else {
            self.world.surveyor.iter_mut().for_each(|surveyor| surveyor.refused.push(to.pid));
        }
    }

    fn kill(&mut self, process: ProcessId) {
        self.watch.did(|| format!("kills D{process}"));
        self.world.violated(kills(self.world, process.pid));
        self.world.surveyor.iter_mut().for_each(|surveyor| {
            surveyor.killed.insert(process.pid);
        });
        if self.world.processes.contains_key(&process.pid) {
            self.world.dies(process.pid);
        }
    }

    fn note(&mut self, verdict: Verdict) -> Option<Result<(), String>> {
        self.watch.did(|| format!("journal {}", name(verdict)));
        if self.defers() {
            self.world.surveyor.iter_mut().for_each(|s| s.pending.push(Awaited::Note(verdict)));
            return None;
        }
        self.watch.noted = self.world.heir_that_is_free(verdict);
        Some(self.world.note_survey(verdict, true))
    }
}

impl RecoveryHost for Host<'_, '_> {
    fn finish(&mut self, outcome: Outcome) {
        self.watch.did(|| match outcome.verdict {
            Verdict::Serves(process) => format!("finds: D{process} serves"),
            verdict => format!("finds: {}", name(verdict)),
        });
        self.world.violated(truth(self.world, &outcome));
        self.world.astray &= matches!(outcome.verdict, Verdict::Unconfirmed | Verdict::Cancelled);
        self.world.surveyor.iter_mut().for_each(|surveyor| surveyor.outcome = Some(outcome.clone()));
    }
}

/// When it kills somebody: one that is its to end; not one that serves, nor the last one that could.
fn kills(world: &World, pid: u32) -> Option<String> {
    let process = world.processes.get(&pid)?;
    if !world.surveyor.as_ref()?.named.contains(&pid) {
        return Some(format!("the recovery kills {pid}, which is another's"));
    }
    let well = process.life == Life::Runs && !process.hung && !process.suspect;
    let answered = !world.surveyor.as_ref()?.asked.contains(&pid);
    let lives = |(other, process): (&u32, &Process)| *other != pid && process.life != Life::Dying;
    let dying = world.processes.values().any(|process| process.life == Life::Dying);
    match () {
        () if !well || dying || world.signalled.is_some() => None,
        () if process.accepts => Some(format!("the recovery kills {pid}, which serves")),
        () if answered && !world.processes.keys().any(|pid| checks::serves(world, *pid)) => {
            Some(format!("the recovery kills {pid}, which has answered, and nobody serves"))
        }
        () if !world.processes.iter().any(lives) => Some(format!("the recovery kills {pid}, the last one")),
        () => None,
    }
}

/// What it reports is so, but for an end that it can't have heard of.
fn truth(world: &World, outcome: &Outcome) -> Option<String> {
    let surveyor = world.surveyor.as_ref()?;
    // One that has not said `Hello` yet knows of no handoff, and leaves when it sees that its supervisor is gone.
    let matters = |process: &Process| match &process.daemon {
        Daemon::Incumbent(_) => process.life != Life::Dying,
        Daemon::Successor(machine) => machine.handoff_id().is_some() && process.life != Life::Dying,
    };
    let so = match outcome.verdict {
        Verdict::Serves(process) => {
            let is_final = |process: &Process| {
                process.finalized || process.predecessor.is_some_and(|pid| world.processes.contains_key(&pid))
            };
            // What may not be known to the next supervisor must not be final.
            let told =
                outcome.journal_error.is_some() || world.processes.get(&process.pid).is_some_and(is_final);
            let serves = told && checks::serves(world, process.pid);
            serves || checks::is_dead_unheard(world, &surveyor.watched, process.pid)
        }
        Verdict::NobodyServes => !world.processes.values().any(matters),
        Verdict::Unconfirmed => world.processes.values().any(Process::is_slow),
        Verdict::Cancelled => true,
    };
    let stray =
        |pid: &&u32| outcome.verdict != Verdict::Serves(id(**pid)) && world.processes.contains_key(pid);
    if let (Verdict::Serves(_), Some(stray)) = (outcome.verdict, surveyor.named.iter().find(stray)) {
        return Some(format!("the recovery is over, and {stray} is left"));
    }
    if matches!(outcome.verdict, Verdict::Serves(_)) && !surveyor.has_listeners {
        return Some("the recovery is over without the listening sockets".into());
    }
    // Those whose end was not told are there, as far as it knows.
    let is_there = |process: &ProcessId| {
        world.processes.contains_key(&process.pid) || surveyor.watched.contains(&process.pid)
    };
    if let Some(gone) = outcome.left.iter().find(|process| !is_there(process)) {
        return Some(format!("the recovery reports that {} is left, which has ended", gone.pid));
    }
    let is_heir = |pid: u32| outcome.verdict == Verdict::Serves(id(pid));
    let is_known = |pid: &&u32| is_heir(**pid) == outcome.left.contains(&id(**pid));
    if let Some(pid) = surveyor.watched.iter().find(is_known) {
        return Some(format!("the recovery reports that {:?} are left, and not {pid}", outcome.left));
    }
    let killed: BTreeSet<u32> = outcome.killed.iter().map(|process| process.pid).collect();
    if killed != surveyor.killed {
        return Some(format!(
            "the recovery reports that it has killed {:?}, which is not so",
            outcome.killed
        ));
    }
    if surveyor.journal_failed && outcome.journal_error.is_none() {
        return Some("the journal could not be written, and the recovery does not say so".into());
    }
    (!so).then(|| format!("the recovery reports {:?}, which is not so", outcome.verdict))
}

/// Its name, for the list of verdicts that a search met.
pub(crate) fn name(verdict: recovery::Verdict) -> &'static str {
    match verdict {
        Verdict::Serves(_) => "Serves",
        Verdict::NobodyServes => "NobodyServes",
        Verdict::Unconfirmed => "Unconfirmed",
        Verdict::Cancelled => "Cancelled",
    }
}
