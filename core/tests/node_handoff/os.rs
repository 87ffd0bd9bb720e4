//! An operating system that is a few queues, and a handoff on it.
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use handoff::host::{Clock, Gaps};
use handoff::id::{BootId, DirectoryId};
use handoff::journal::{Binary, Journal};
use handoff::machine::StateName;
use handoff::machine::supervisor::{Event, Limits, Note, Peer};
use handoff::message::MessageName;
use handoff::message::{Capabilities, Hello, Message, PROTO_MAX, PROTO_MIN, Role, Sealed};
use handoff::node::handoff::{Answer, ControlConnection, HandoffNode, Os, SpawnResult};
use handoff::node::{Credentials, Faithful, Node, NodeOn, Read};
use handoff::text::PlainText;
use handoff::time::Time;
use handoff::{HandoffId, HostError, ProcessId};

pub(crate) const ID: HandoffId = HandoffId([7; 16]);
pub(crate) const BOOT: BootId = BootId([3; 16]);
pub(crate) const DIRECTORY: DirectoryId = DirectoryId { dev: 8, ino: 9 };
pub(crate) const UID: u32 = 1000;
pub(crate) const LIVENESS: Duration = Duration::from_secs(5);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
pub(crate) const INCUMBENT: ProcessId = ProcessId { pid: 1, start_time: 10 };
pub(crate) const SUCCESSOR: ProcessId = ProcessId { pid: 2, start_time: 20 };

/// The call that the node has made to its operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Connects,
    HangsUp(Peer),
    Spawns { replaces: bool },
    Watches(ProcessId),
    Kills(Peer),
    Says(Peer, MessageName),
    Writes(Note),
}

pub(crate) struct Queues {
    pub now: Duration,
    pub inboxes: BTreeMap<Peer, VecDeque<Read>>,
    /// Of the process at the other end of the incumbent's link.
    pub credentials: Result<Credentials, HostError>,
    /// The outcomes of the next attempts to connect; `None` puts the answer off. Afterwards they succeed.
    pub connections: VecDeque<Option<ControlConnection>>,
    /// The user that the successor runs as.
    pub user: u32,
    /// The directory that the successor has locked.
    pub directory: Option<DirectoryId>,
    pub spawned: Option<SpawnResult>,
    pub written: Option<Result<(), HostError>>,
    /// The time that the next write of the journal takes, during which this process does nothing else.
    pub write_takes: Duration,
    pub answers: VecDeque<Answer>,
    pub ended: BTreeMap<Peer, PlainText>,
    /// Processes that end after so many further reads.
    pub ends_after: Vec<(usize, Peer)>,
    pub cancelled: bool,
    pub did: Vec<Did>,
    pub journals: Vec<(Note, Journal)>,
}

impl Queues {
    fn new() -> Queues {
        Queues {
            now: Duration::ZERO,
            inboxes: BTreeMap::new(),
            credentials: Ok(Credentials { uid: UID, pid: Some(INCUMBENT.pid) }),
            connections: VecDeque::new(),
            user: UID,
            directory: Some(DIRECTORY),
            spawned: Some(Ok((SUCCESSOR, binary("new")))),
            written: Some(Ok(())),
            write_takes: Duration::ZERO,
            answers: VecDeque::new(),
            ended: BTreeMap::new(),
            ends_after: Vec::new(),
            cancelled: false,
            did: Vec::new(),
            journals: Vec::new(),
        }
    }

    pub(crate) fn says(&mut self, peer: Peer, message: Message) {
        self.inboxes.entry(peer).or_default().push_back(Read::Message(message));
    }

    pub(crate) fn closes(&mut self, peer: Peer) {
        self.inboxes.entry(peer).or_default().push_back(Read::Closed("end of file".into()));
    }

    pub(crate) fn ends(&mut self, peer: Peer) {
        self.ended.insert(peer, "was killed".into());
    }

    pub(crate) fn passes(&mut self, time: Duration) {
        self.now += time;
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
    fn connect(&mut self) -> Option<ControlConnection> {
        self.did.push(Did::Connects);
        self.connections.pop_front().unwrap_or(Some(ControlConnection::Made))
    }

    fn read(&mut self, peer: Peer) -> Read {
        let read = self.inboxes.get_mut(&peer).and_then(VecDeque::pop_front).unwrap_or(Read::Nothing);
        self.ends_after.iter_mut().for_each(|(reads, _)| *reads = reads.saturating_sub(1));
        for (_, peer) in self.ends_after.extract_if(.., |(reads, _)| *reads == 0) {
            self.ended.insert(peer, "was killed".into());
        }
        read
    }

    fn send(&mut self, peer: Peer, message: &Message) {
        self.did.push(Did::Says(peer, message.name()));
    }

    fn hang_up(&mut self, peer: Peer) {
        self.inboxes.remove(&peer);
        self.did.push(Did::HangsUp(peer));
    }

    fn credentials(&self, peer: Peer) -> Result<Credentials, HostError> {
        assert_eq!(peer, Peer::Incumbent, "the successor's link was made by this process");
        self.credentials.clone()
    }

    fn uid(&self) -> u32 {
        UID
    }

    fn user(&self) -> Option<u32> {
        Some(self.user)
    }

    fn directory(&self) -> Option<DirectoryId> {
        self.directory
    }

    fn boot(&self) -> BootId {
        BOOT
    }

    fn spawn(&mut self, replaces: bool) -> Option<SpawnResult> {
        self.did.push(Did::Spawns { replaces });
        self.spawned.clone()
    }

    fn watch(&mut self, incumbent: ProcessId) -> Result<(), HostError> {
        self.did.push(Did::Watches(incumbent));
        Ok(())
    }

    fn ended(&mut self, peer: Peer) -> Option<PlainText> {
        self.ended.get(&peer).cloned()
    }

    fn kill(&mut self, peer: Peer) {
        self.did.push(Did::Kills(peer));
    }

    fn write_journal(&mut self, note: Note, journal: &Journal) -> Option<Result<(), HostError>> {
        self.did.push(Did::Writes(note));
        self.journals.push((note, journal.clone()));
        self.now += std::mem::take(&mut self.write_takes);
        self.written.clone()
    }

    fn answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

/// A handoff and what it stands on.
pub(crate) struct HandoffScene {
    pub os: Queues,
    pub node: HandoffNode,
}

impl HandoffScene {
    /// Before it begins; `before` is what the journal says.
    pub(crate) fn new(replace: bool, before: Journal) -> HandoffScene {
        let config = Limits {
            liveness: LIVENESS,
            deadline: Duration::from_secs(300),
            drain_grace: Duration::from_secs(10),
            hook_limit: Duration::from_secs(60),
            retire_limit: Duration::from_secs(30),
        };
        HandoffScene { os: Queues::new(), node: HandoffNode::new(config, ID, replace, before) }
    }

    /// A handoff that has come to `state`, since either process has said what comes before.
    pub(crate) fn at(state: StateName) -> HandoffScene {
        let mut scene = HandoffScene::new(true, Journal::default());
        scene.begin();
        scene.go_on_to(state);
        scene
    }

    pub(crate) fn begin(&mut self) {
        let start = self.node.start();
        self.step(start);
    }

    pub(crate) fn go_on_to(&mut self, state: StateName) {
        for (awaits, peer, message) in story() {
            if self.node.state() == state {
                break;
            }
            if self.node.state() == awaits {
                self.os.says(peer, message);
                self.pass();
            }
        }
        assert_eq!(self.node.state(), state);
        self.os.did.clear();
    }

    /// The successor, which is to become warm, has said `Hello`.
    pub(crate) fn meet_successor(&mut self) {
        self.os.says(Peer::Successor, hello(Role::Successor, SUCCESSOR));
        self.pass();
    }

    pub(crate) fn step(&mut self, event: Event) {
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

    /// Returns what is handed over in the pass to which the node wakes by itself.
    pub(crate) fn pass_at_wake(&mut self) -> Vec<Event> {
        let wakes = self.node.wake_at().expect("it wakes by itself");
        self.os.now += wakes.since(self.os.now());
        self.pass()
    }
}

/// Returns what either process says, after the state of the machine that waits for it.
fn story() -> [(StateName, Peer, Message); 8] {
    [
        (StateName::AwaitIncumbent, Peer::Incumbent, hello(Role::Incumbent, INCUMBENT)),
        (StateName::AwaitWarmed, Peer::Successor, hello(Role::Successor, SUCCESSOR)),
        (StateName::AwaitWarmed, Peer::Successor, Message::Warmed { handoff_id: ID }),
        (StateName::AwaitDrained, Peer::Incumbent, drained()),
        (StateName::AwaitSealed, Peer::Incumbent, sealed()),
        (StateName::AwaitReady, Peer::Successor, ready()),
        (StateName::AwaitServing, Peer::Successor, serving()),
        (StateName::AwaitResumed, Peer::Incumbent, Message::Resumed { handoff_id: ID }),
    ]
}

pub(crate) fn hello(role: Role, process: ProcessId) -> Message {
    Message::Hello(Hello {
        role,
        pid: process.pid,
        start_time: process.start_time,
        build_id: role.to_string().into_bytes(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    })
}

pub(crate) fn drained() -> Message {
    Message::Drained { handoff_id: ID, open_conns_remaining: 0, accept_closed: true }
}

fn sealed() -> Message {
    let sealed = Sealed { last_revision_per_shard: vec![3], ..Sealed::default() };
    Message::SealComplete { handoff_id: ID, sealed }
}

pub(crate) fn ready() -> Message {
    let listening_on = Vec::new();
    Message::Ready { handoff_id: ID, listening_on, healthz_ok: true, advertised_revision_per_shard: vec![3] }
}

pub(crate) fn serving() -> Message {
    Message::Serving { handoff_id: ID }
}

pub(crate) fn failed(error: &str) -> Message {
    Message::Failed { handoff_id: ID, error: error.into() }
}

pub(crate) fn binary(name: &str) -> Binary {
    Binary { handoff_id: ID, path: name.into(), args: Vec::new(), working_dir: None, identity: None }
}
