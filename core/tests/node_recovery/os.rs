//! An operating system that is a few queues, and a recovery on it.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use handoff::host::{Clock, Gaps};
use handoff::journal::Journal;
use handoff::machine::recovery::{Event, Limits, RecoveryVerdict};
use handoff::message::MessageName;
use handoff::message::{AwaitsFinal, Capabilities, Hello, Message, PROTO_MAX, PROTO_MIN, Role, Standing};
use handoff::node::recovery::{Answer, Os, RecoveryNode, Seen};
use handoff::node::{Credentials, Faithful, Node, NodeOn, Read};
use handoff::text::PlainText;
use handoff::time::Time;
use handoff::{HandoffId, HostError, ProcessId};

pub(crate) const UID: u32 = 1000;
pub(crate) const LIVENESS: Duration = Duration::from_secs(5);
/// The time between two questions.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
pub(crate) const A: ProcessId = ProcessId { pid: 1, start_time: 10 };
pub(crate) const B: ProcessId = ProcessId { pid: 2, start_time: 20 };
pub(crate) const C: ProcessId = ProcessId { pid: 3, start_time: 30 };

/// The call that the node has made to its operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Looks(Option<ProcessId>),
    Watches(ProcessId),
    Connects(ProcessId),
    HangsUp(ProcessId),
    Says(ProcessId, MessageName),
    Receives(ProcessId, usize),
    Keeps(ProcessId),
    Drops(ProcessId),
    Kills(ProcessId),
    Writes(RecoveryVerdict),
}

pub(crate) struct Queues {
    pub(crate) now: Duration,
    /// The daemons that a look shows; `None` puts the answer off.
    pub(crate) seen: Option<Seen>,
    pub(crate) dead: BTreeSet<ProcessId>,
    pub(crate) inboxes: BTreeMap<ProcessId, VecDeque<Read>>,
    /// Of the process at the other end of a link; of the right one unless said otherwise.
    pub(crate) credentials: BTreeMap<ProcessId, Credentials>,
    pub(crate) connected: Option<Result<(), HostError>>,
    pub(crate) clogged: BTreeSet<ProcessId>,
    pub(crate) written: Option<Result<(), HostError>>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) ended: BTreeSet<ProcessId>,
    /// Processes that end after so many further reads.
    pub(crate) ends_after: Vec<(usize, ProcessId)>,
    pub(crate) cancelled: bool,
    pub(crate) did: Vec<Did>,
    pub(crate) journals: Vec<Journal>,
}

impl Queues {
    pub(crate) fn says(&mut self, process: ProcessId, message: Message) {
        self.inboxes.entry(process).or_default().push_back(Read::Message(message));
    }

    pub(crate) fn has(&self, did: &Did) -> bool {
        self.did.contains(did)
    }
}

impl Clock for Queues {
    fn now(&self) -> Time {
        Time::from_origin(self.now)
    }
}

impl Gaps for Queues {}

impl Os for Queues {
    fn look(&mut self, also: Option<ProcessId>) -> Option<Seen> {
        self.did.push(Did::Looks(also));
        self.seen.clone()
    }

    fn watch(&mut self, process: ProcessId) -> bool {
        self.did.push(Did::Watches(process));
        !self.dead.contains(&process)
    }

    fn ended(&mut self, process: ProcessId) -> Option<PlainText> {
        self.ended.contains(&process).then(|| "was killed".into())
    }

    fn connect(&mut self, to: ProcessId) -> Option<Result<(), HostError>> {
        self.did.push(Did::Connects(to));
        self.connected.clone()
    }

    fn credentials(&self, of: ProcessId) -> Result<Credentials, HostError> {
        let its_own = Credentials { uid: UID, pid: Some(of.pid) };
        Ok(self.credentials.get(&of).copied().unwrap_or(its_own))
    }

    fn uid(&self) -> u32 {
        UID
    }

    fn read(&mut self, from: ProcessId) -> Read {
        let read = self.inboxes.get_mut(&from).and_then(VecDeque::pop_front).unwrap_or(Read::Nothing);
        self.ends_after.iter_mut().for_each(|(reads, _)| *reads = reads.saturating_sub(1));
        let ended = self.ends_after.extract_if(.., |(reads, _)| *reads == 0);
        self.ended.extend(ended.map(|(_, process)| process));
        read
    }

    fn send(&mut self, to: ProcessId, message: &Message) {
        self.did.push(Did::Says(to, message.name()));
    }

    fn is_clogged(&self, to: ProcessId) -> bool {
        self.clogged.contains(&to)
    }

    fn hang_up(&mut self, from: ProcessId) {
        self.inboxes.remove(&from);
        self.did.push(Did::HangsUp(from));
    }

    fn receive_listeners(&mut self, from: ProcessId, names: &[String]) -> Result<(), HostError> {
        self.did.push(Did::Receives(from, names.len()));
        Ok(())
    }

    fn keep_listeners(&mut self, from: ProcessId) {
        self.did.push(Did::Keeps(from));
    }

    fn drop_listeners(&mut self, from: ProcessId) {
        self.did.push(Did::Drops(from));
    }

    fn kill(&mut self, process: ProcessId) {
        self.did.push(Did::Kills(process));
    }

    fn write_journal(
        &mut self,
        verdict: RecoveryVerdict,
        journal: &Journal,
    ) -> Option<Result<(), HostError>> {
        self.did.push(Did::Writes(verdict));
        self.journals.push(journal.clone());
        self.written.clone()
    }

    fn answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

/// A recovery and what it stands on.
pub(crate) struct RecoveryScene {
    pub(crate) os: Queues,
    pub(crate) node: RecoveryNode,
}

impl RecoveryScene {
    /// Before it begins: `beside` are the processes whose sockets lie beside the control path.
    pub(crate) fn new(beside: &[ProcessId], before: Journal) -> RecoveryScene {
        let config = Limits {
            liveness: LIVENESS,
            unreachable_limit: Duration::from_secs(20),
            retire_limit: Duration::from_secs(20),
            deadline: Duration::from_secs(60),
            take_listeners: true,
        };
        let os = Queues {
            now: Duration::ZERO,
            seen: Some(Seen { beside: beside.to_vec(), ..Seen::default() }),
            dead: BTreeSet::new(),
            inboxes: BTreeMap::new(),
            credentials: BTreeMap::new(),
            connected: Some(Ok(())),
            clogged: BTreeSet::new(),
            written: Some(Ok(())),
            answers: VecDeque::new(),
            ended: BTreeSet::new(),
            ends_after: Vec::new(),
            cancelled: false,
            did: Vec::new(),
            journals: Vec::new(),
        };
        RecoveryScene { os, node: RecoveryNode::new(config, before) }
    }

    /// A recovery that has asked `beside`.
    pub(crate) fn with(beside: &[ProcessId]) -> RecoveryScene {
        let mut scene = RecoveryScene::new(beside, Journal::default());
        scene.begin();
        scene.os.did.clear();
        scene
    }

    /// A recovery that has asked `beside`, all of which have said their names.
    pub(crate) fn met(beside: &[ProcessId]) -> RecoveryScene {
        let mut scene = RecoveryScene::with(beside);
        beside.iter().for_each(|process| scene.os.says(*process, hello(*process)));
        assert_eq!(scene.pass().len(), beside.len());
        scene.os.did.clear();
        scene
    }

    pub(crate) fn begin(&mut self) {
        self.step(Event::Start);
    }

    fn step(&mut self, event: Event) {
        assert!(self.node.step(&mut self.os, event, &mut Faithful).is_continue());
    }

    /// One whole pass: what was handed over.
    pub(crate) fn pass(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.node.next(&mut self.os) {
            events.push(event.clone());
            self.step(event);
        }
        events
    }

    /// Returns what is handed over in a pass in which `process` says `message`.
    pub(crate) fn hears(&mut self, process: ProcessId, message: Message) -> Vec<Event> {
        self.os.says(process, message);
        self.pass()
    }

    /// All that the recovery does in the pass to which it wakes by itself.
    pub(crate) fn pass_at_wake(&mut self) -> Vec<Event> {
        let wakes = self.node.wake_at().expect("it wakes by itself");
        self.os.now += wakes.since(self.os.now());
        self.pass()
    }
}

pub(crate) fn hello(process: ProcessId) -> Message {
    Message::Hello(Hello {
        role: Role::Incumbent,
        pid: process.pid,
        start_time: process.start_time,
        build_id: b"build".to_vec(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    })
}

pub(crate) fn serves() -> Message {
    Message::StandingReport { standing: Standing::Serving, awaits_final: None }
}

pub(crate) fn awaits_final() -> Message {
    let awaits_final = Some(AwaitsFinal { handoff_id: HandoffId([7; 16]), predecessor: None });
    Message::StandingReport { standing: Standing::Serving, awaits_final }
}

pub(crate) fn listeners(count: usize, more: bool) -> Message {
    Message::Listeners { names: vec!["l".into(); count], more }
}
