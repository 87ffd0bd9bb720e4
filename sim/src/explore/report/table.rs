//! The state × event tables: every event, applied to every machine that a search met.
use std::collections::{BTreeMap, BTreeSet};

use handoff::machine::EffectName;

use handoff::machine::{
    Batch, DaemonEvent, LinkId, LockAnswer, Machine, Reason, Timer, incumbent, recovery, successor,
    supervisor::{self, HandoffVerdict, Note, Peer},
};
use handoff::message::{AwaitsFinal, HelloAck, Message, Role, Sealed, Standing};
use handoff::time::Time;
use handoff::{HandoffId, HostError};

use crate::explore::model::{hello, id};
use crate::explore::search::graph::ExploreReport;
use crate::explore::search::samples::{Around, Samples};

/// The table of each role: for each state and event, what can become of it, for every machine that was met.
pub fn tables<'a>(reports: impl IntoIterator<Item = &'a ExploreReport>) -> Vec<(&'static str, String)> {
    let mut cells = Cells::default();
    reports.into_iter().for_each(|report| report.samples.fill(&mut cells));
    cells.tables()
}

impl Samples {
    /// Applies every event to every machine.
    pub(crate) fn fill(&self, cells: &mut Cells) {
        for machine in &self.supervisors {
            supervisor_events().into_iter().for_each(|(name, event)| cells.fill(machine, &name, event));
        }
        for machine in &self.recoveries {
            recovery_events().into_iter().for_each(|(name, event)| cells.fill(machine, &name, event));
        }
        for (machine, around) in &self.incumbents {
            let done = [
                ("Drained", incumbent::Done::Drained { open_conns_remaining: 0, accept_closed: true }),
                (
                    "Sealed",
                    incumbent::Done::Sealed {
                        last_revision_per_shard: vec![1],
                        data_dir_fingerprint: Default::default(),
                    },
                ),
                ("Ok", incumbent::Done::Ok),
            ];
            daemon_events(around, done)
                .into_iter()
                .for_each(|(name, event)| cells.fill(machine, &name, event));
        }
        for (machine, around) in &self.successors {
            let opened = |healthz_ok| successor::Done::Opened {
                listening_on: Vec::new(),
                healthz_ok,
                advertised_revision_per_shard: vec![1],
                data_dir_fingerprint: Default::default(),
            };
            let done = [("Opened", opened(true)), ("unhealthy", opened(false)), ("Ok", successor::Done::Ok)];
            daemon_events(around, done)
                .into_iter()
                .for_each(|(name, event)| cells.fill(machine, &name, event));
        }
    }
}

type Key = (&'static str, String);

/// The next state and the effects that were seen in each cell.
#[derive(Default)]
pub(crate) struct Cells(BTreeMap<&'static str, BTreeMap<Key, BTreeSet<String>>>);

impl Cells {
    fn fill<M>(&mut self, machine: &M, event_name: &str, event: M::Event)
    where
        M: Machine + Clone,
    {
        let state = machine.state();
        let mut next = machine.clone();
        let mut batch = Batch::<M>::new();
        next.handle(Time::ZERO, event, batch.out());
        let mut effects: Vec<_> = batch.effects.iter().map(M::effect_name).collect();
        effects.extend(batch.last.as_ref().map(M::awaited_name));
        let seen = match (next.state() == state, effects.is_empty()) {
            (true, true) => "-".into(),
            (true, false) => names(&effects),
            (false, true) => format!("-> {}", next.state()),
            (false, false) => format!("-> {}: {}", next.state(), names(&effects)),
        };
        let cell = (state.name(), event_name.to_owned());
        self.0.entry(M::ROLE.name()).or_default().entry(cell).or_default().insert(seen);
    }

    /// A role's table: for each state and event, what can become of it.
    pub(crate) fn tables(&self) -> Vec<(&'static str, String)> {
        self.0.iter().map(|(role, cells)| (*role, table(cells))).collect()
    }
}

fn names(effects: &[EffectName]) -> String {
    effects.iter().map(|effect| effect.name()).collect::<Vec<_>>().join(", ")
}

/// A paragraph a state: the events that can do the same, and what each of them can do.
fn table(cells: &BTreeMap<Key, BTreeSet<String>>) -> String {
    let mut states: BTreeMap<&str, BTreeMap<&BTreeSet<String>, Vec<&str>>> = BTreeMap::new();
    for ((state, event), seen) in cells {
        states.entry(state).or_default().entry(seen).or_default().push(event);
    }
    let mut lines = Vec::new();
    for (state, groups) in states {
        lines.push(format!("\n{state}"));
        for (seen, events) in groups {
            lines.push(format!("    {}", events.join(", ")));
            lines.extend(seen.iter().map(|seen| match seen.as_str() {
                "-" => "        ignored".into(),
                seen => format!("        {seen}"),
            }));
        }
    }
    lines.join("\n")
}

fn messages(handoff_id: HandoffId) -> Vec<Message> {
    let sealed = Sealed { generation: 1, last_revision_per_shard: vec![1], ..Sealed::default() };
    vec![
        Message::HelloAck(HelloAck {
            proto_version_chosen: handoff::message::PROTO_MAX,
            handoff_id,
            incumbent: Some(id(1)),
            liveness_ms: 5000,
            deadline_ms: 300_000,
            hook_limit_ms: 300_000,
        }),
        Message::PrepareHandoff { handoff_id, successor: id(2), deadline_ms: 1000, drain_grace_ms: 1000 },
        Message::SealRequest { handoff_id },
        Message::Begin { handoff_id, sealed: Some(sealed.clone()) },
        Message::Commit { handoff_id },
        Message::Retire { handoff_id },
        Message::Final { handoff_id },
        Message::ResumeAfterAbort { handoff_id },
        Message::Abort { handoff_id, reason: "why".into() },
        Message::Heartbeat { standing: Standing::Supervising, repeats: None },
        Message::Busy,
        Message::Refused { error: "why".into() },
        Message::Hello(hello(1, Role::Incumbent)),
        Message::Hello(hello(2, Role::Successor)),
        Message::Warmed { handoff_id },
        Message::Drained { handoff_id, open_conns_remaining: 0, accept_closed: true },
        Message::DrainFailed { handoff_id, error: "why".into() },
        Message::SealComplete { handoff_id, sealed },
        Message::SealFailed { handoff_id, error: "why".into(), partial_state: "none".into() },
        Message::Ready {
            handoff_id,
            listening_on: Vec::new(),
            healthz_ok: true,
            advertised_revision_per_shard: vec![1],
        },
        Message::Failed { handoff_id, error: "why".into() },
        Message::Serving { handoff_id },
        Message::Resumed { handoff_id },
        Message::StandingQuery,
        Message::StandingReport { standing: Standing::Serving, awaits_final: None },
        Message::ListenersQuery,
        Message::Listeners { names: Vec::new(), more: false },
    ]
}

fn name(message: &Message) -> String {
    match message {
        Message::Hello(hello) => format!("Hello({})", hello.role),
        message => message.name().to_string(),
    }
}

/// The supervisor doesn't look at ids: its host knows which link is whose.
fn supervisor_events() -> Vec<(String, supervisor::Event)> {
    use supervisor::Event;
    let mut events = vec![
        ("Cancel".to_owned(), Event::Cancel(Reason::Cancelled)),
        ("ConnectFailed".to_owned(), Event::ConnectFailed(HostError::system("why"))),
        ("Unfit".to_owned(), Event::Unfit(Reason::Unhealthy)),
        ("Spawned(ok)".to_owned(), Event::Spawned(Ok(id(2)))),
        ("Spawned(error)".to_owned(), Event::Spawned(Err(HostError::system("why")))),
    ];
    for note in [Note::UnderWay, Note::Committed, Note::Over(HandoffVerdict::RolledBack)] {
        events.push((format!("Persisted({note:?}, ok)"), Event::Persisted(note, Ok(()))));
        events.push((
            format!("Persisted({note:?}, error)"),
            Event::Persisted(note, Err(HostError::system("why"))),
        ));
    }
    for replace in [true, false] {
        let handoff_id = HandoffId([1; 16]);
        events.push((format!("Start(replace: {replace})"), Event::Start { handoff_id, replace }));
    }
    for peer in [Peer::Incumbent, Peer::Successor] {
        events.push((format!("{peer:?} closed"), Event::Closed(peer, "why".into())));
        events.push((format!("{peer:?} ended"), Event::Ended(peer, "why".into())));
        let says = |message: Message| (format!("{peer:?} {}", name(&message)), Event::Frame(peer, message));
        events.extend(messages(HandoffId([1; 16])).into_iter().map(says));
    }
    events.extend(Timer::ALL.map(|timer| (format!("Timer({timer:?})"), Event::Timer(timer))));
    events
}

/// Of two processes, so that one may serve and the other be in the way.
fn recovery_events() -> Vec<(String, recovery::Event)> {
    use recovery::{Event, RecoveryVerdict, Sight, Sighting};
    let mut events = vec![
        ("Start".to_owned(), Event::Start),
        ("Cancel".to_owned(), Event::Cancel),
        ("Looked(nobody)".to_owned(), Event::Looked(Vec::new())),
        ("Noted(NobodyServes)".to_owned(), Event::Noted(RecoveryVerdict::NobodyServes, Ok(()))),
    ];
    for sight in [Sight::Beside, Sight::InPlace, Sight::Incumbent, Sight::Successor] {
        let sightings = [1, 2].map(|pid| Sighting { process: id(pid), sight, is_swept: false }).to_vec();
        events.push((format!("Looked({sight:?})"), Event::Looked(sightings)));
    }
    for process in [id(1), id(2)] {
        let says = |message: Message| (message.name().to_string(), Event::Frame(process, message));
        let awaits = AwaitsFinal { handoff_id: HandoffId([1; 16]), predecessor: Some(id(1)) };
        for (standing, awaits_final) in
            [(Standing::Serving, None), (Standing::Serving, Some(awaits)), (Standing::Sealed, None)]
        {
            let name = format!("StandingReport({standing:?}, awaits final: {})", awaits_final.is_some());
            events.push((name, Event::Frame(process, Message::StandingReport { standing, awaits_final })));
        }
        events.push(says(Message::Listeners { names: Vec::new(), more: false }));
        events.push(says(Message::Hello(hello(process.pid, Role::Incumbent))));
        events.push(("Closed".to_owned(), Event::Closed(process)));
        events.push(("Ended".to_owned(), Event::Ended(process)));
        for result in [Ok(()), Err(HostError::system("why"))] {
            let name = format!("Noted(Serves, {})", if result.is_ok() { "ok" } else { "error" });
            events.push((name, Event::Noted(RecoveryVerdict::Serves(process), result)));
        }
    }
    events.extend(Timer::ALL.map(|timer| (format!("Timer({timer:?})"), Event::Timer(timer))));
    events
}

fn daemon_events<D: Clone>(around: &Around, done: [(&str, D); 3]) -> Vec<(String, DaemonEvent<D>)> {
    use DaemonEvent as Event;
    let (op, stranger) = (around.op, LinkId(99));
    let mut events = vec![
        ("Start".to_owned(), Event::Start),
        ("Stop".to_owned(), Event::Stop),
        ("Connected".to_owned(), Event::Connected(stranger)),
        ("HookDone(error)".to_owned(), Event::HookDone(op, Err(HostError::system("why")))),
        ("Locked(held)".to_owned(), Event::Locked(op, LockAnswer::Held { last: None })),
        ("Locked(busy)".to_owned(), Event::Locked(op, LockAnswer::Busy { hint: None, holder: None })),
        ("Locked(error)".to_owned(), Event::Locked(op, LockAnswer::Error(HostError::system("why")))),
        ("Recorded(ok)".to_owned(), Event::Recorded(op, Ok(()))),
        ("Recorded(error)".to_owned(), Event::Recorded(op, Err(HostError::system("why")))),
        ("PathTaken(ok)".to_owned(), Event::PathTaken(op, Ok(()))),
        ("PathTaken(error)".to_owned(), Event::PathTaken(op, Err(HostError::system("why")))),
    ];
    events.extend(done.map(|(name, done)| (format!("HookDone({name})"), Event::HookDone(op, Ok(done)))));
    events.extend(Timer::ALL.map(|timer| (format!("Timer({timer:?})"), Event::Timer(timer))));
    if let Some(link) = around.link {
        events.push(("Closed".to_owned(), Event::Closed(link)));
        let hears = |message: Message| (name(&message), Event::Frame(link, message));
        events.extend(messages(around.handoff_id).into_iter().map(hears));
    }
    let hears =
        |message: Message| (format!("a stranger's {}", name(&message)), Event::Frame(stranger, message));
    // Another supervisor, or another role of this program: how it is told so does not depend on what it says.
    let enough = |message: &Message| matches!(message, Message::HelloAck(_) | Message::Retire { .. });
    events.extend(messages(HandoffId([99; 16])).into_iter().filter(enough).map(hears));
    events
}
