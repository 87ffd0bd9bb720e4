//! The order in which a daemon's node hands over what has happened, on an operating system that is a few queues.
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use handoff::host::{Clock, Gaps, Sockets, Storage};
use handoff::machine::{ExitReason, IncumbentMachine, LinkId, LockAnswer, Op, Timer};
use handoff::message::{
    Capabilities, Hello, HelloAck, Message, MessageName, PROTO_MAX, PROTO_MIN, Role, Standing,
};
use handoff::node::daemon::{
    Accepted, DaemonMachine, DaemonNode, Event, Hook, HookReport, MOST_LINKS, Os, StateSnapshot,
};
use handoff::node::{Credentials, FLOOD, Faithful, Node, NodeOn, Read};
use handoff::record::Record;
use handoff::time::Time;
use handoff::{HandoffId, HostError, ProcessId};

const LIVENESS: Duration = Duration::from_secs(5);

#[derive(Default)]
struct DaemonOs {
    now: Duration,
    inboxes: BTreeMap<u64, VecDeque<Read>>,
    connecting: VecDeque<Accepted>,
    replies: VecDeque<HookReport>,
    stop_asked: bool,
    sent: Vec<(u64, MessageName)>,
    closed: Vec<u64>,
    hooks: Vec<Hook>,
    snapshots: u32,
    receives: Vec<LinkId>,
}

impl Clock for DaemonOs {
    fn now(&self) -> Time {
        Time::from_origin(self.now)
    }
}

impl Gaps for DaemonOs {}

impl Sockets for DaemonOs {
    fn send_listeners(&mut self, _to: LinkId) {}

    fn receive_connections(&mut self, from: LinkId) {
        self.receives.push(from);
    }
}

impl Storage for DaemonOs {
    fn lock(&mut self, _op: Op) -> Option<LockAnswer> {
        Some(LockAnswer::Held { last: None })
    }

    fn unlock(&mut self) {}

    fn write_record(&mut self, _op: Op, _record: &Record) -> Option<Result<(), HostError>> {
        Some(Ok(()))
    }

    fn take_path(&mut self, _op: Op) -> Option<Result<(), HostError>> {
        Some(Ok(()))
    }
}

impl Os for DaemonOs {
    fn read(&mut self, link: LinkId) -> Read {
        self.inboxes.get_mut(&link.0).and_then(VecDeque::pop_front).unwrap_or(Read::Nothing)
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.sent.push((link.0, message.name()));
    }

    fn close(&mut self, link: LinkId) {
        self.closed.push(link.0);
    }

    fn accept(&mut self) -> Accepted {
        self.connecting.pop_front().unwrap_or(Accepted::Nobody)
    }

    fn uid(&self) -> u32 {
        1000
    }

    fn answer(&mut self) -> Option<Event> {
        None
    }

    fn reply(&mut self) -> Option<HookReport> {
        self.replies.pop_front()
    }

    fn start_hook(&mut self, _op: Op, hook: Hook) {
        self.hooks.push(hook);
    }

    fn take_snapshot(&mut self) {
        self.snapshots += 1;
    }

    fn stop_asked(&self) -> bool {
        self.stop_asked
    }

    fn exit(&mut self, _exit: ExitReason) {}
}

impl DaemonOs {
    fn connects(&mut self, link: u64) {
        let peer = Credentials { uid: 1000, pid: None };
        self.connecting.push_back(Accepted::Link(LinkId(link), peer));
    }

    fn says(&mut self, link: u64, message: Message) {
        self.inboxes.entry(link).or_default().push_back(Read::Message(message));
    }

    /// One whole pass: what was handed over.
    fn pass(&mut self, node: &mut DaemonNode) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = node.next(self) {
            events.push(event.clone());
            assert!(node.step(self, event, &mut Faithful).is_continue());
        }
        events
    }
}

fn incumbent() -> DaemonNode {
    let hello = Hello {
        role: Role::Incumbent,
        pid: 1,
        start_time: 0,
        build_id: Vec::new(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    };
    DaemonNode::new(DaemonMachine::Incumbent(IncumbentMachine::new(hello, 1, LIVENESS)), None, LIVENESS)
}

fn ack() -> Message {
    Message::HelloAck(HelloAck {
        proto_version_chosen: PROTO_MAX,
        handoff_id: HandoffId([1; 16]),
        incumbent: None,
        deadline_ms: 300_000,
        liveness_ms: 5_000,
        hook_limit_ms: 300_000,
    })
}

fn prepare() -> Message {
    let successor = ProcessId { pid: 2, start_time: 0 };
    let handoff_id = HandoffId([1; 16]);
    Message::PrepareHandoff { handoff_id, successor, deadline_ms: 300_000, drain_grace_ms: 1_000 }
}

fn query(link: u64) -> Event {
    Event::Frame(LinkId(link), Message::StandingQuery)
}

#[test]
fn a_peer_that_floods_its_link_delays_no_other_and_no_timer() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    [1, 2].into_iter().for_each(|link| os.connects(link));
    os.pass(&mut node);
    os.says(2, ack());
    os.pass(&mut node);
    os.now = LIVENESS / 5;
    (0..10 * FLOOD).for_each(|_| os.says(1, Message::StandingQuery));
    os.says(2, Message::StandingQuery);
    let events = os.pass(&mut node);
    assert_eq!(events.len(), FLOOD + 2);
    assert_eq!(events[FLOOD], query(2));
    assert_eq!(events[FLOOD + 1], Event::Timer(Timer::Heartbeat));
}

#[test]
fn what_a_flood_has_left_is_read_without_waiting_for_more() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connects(1);
    os.pass(&mut node);
    (0..FLOOD + 1).for_each(|_| os.says(1, Message::StandingQuery));
    assert_eq!((os.pass(&mut node).len(), node.wake_at()), (FLOOD, Some(os.now())));
    assert_eq!((os.pass(&mut node).len(), node.wake_at()), (1, None));
}

#[test]
fn a_timer_has_its_turn_only_when_nothing_else_has_happened() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connects(1);
    os.pass(&mut node);
    os.says(1, ack());
    os.pass(&mut node);
    os.now = LIVENESS;
    os.says(1, Message::StandingQuery);
    assert_eq!(os.pass(&mut node), [query(1)], "the supervisor was heard before its silence counts");
    assert_ne!(os.pass(&mut node), []);
}

#[test]
fn the_older_link_comes_first_then_a_stop_then_newcomers() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    [1, 2].into_iter().for_each(|link| os.connects(link));
    os.pass(&mut node);
    os.says(2, Message::StandingQuery);
    os.says(1, Message::StandingQuery);
    os.connects(3);
    os.stop_asked = true;
    let expected = [query(1), query(2), Event::Stop, Event::Connected(LinkId(3))];
    assert_eq!(os.pass(&mut node), expected);
    assert_eq!(os.pass(&mut node), [], "a stop is told once");
}

#[test]
fn a_flood_of_connections_displaces_neither_the_session_nor_a_peer_that_has_spoken() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    [1, 2].into_iter().for_each(|link| os.connects(link));
    os.pass(&mut node);
    os.says(1, ack());
    os.says(2, Message::StandingQuery);
    os.pass(&mut node);
    (3..2000).for_each(|link| os.connects(link));
    while !os.connecting.is_empty() {
        os.pass(&mut node);
    }
    let open: Vec<u64> = node.links().map(|link| link.0).collect();
    assert_eq!(open.len(), MOST_LINKS);
    assert_eq!(open[..2], [1, 2]);
    assert_eq!(open.last(), Some(&1999), "a supervisor that comes now is heard");
}

#[test]
fn a_peer_of_another_user_is_refused_and_never_a_link() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connecting.push_back(Accepted::Link(LinkId(1), Credentials { uid: 1001, pid: Some(9) }));
    assert_eq!(os.pass(&mut node), []);
    assert_eq!((os.sent, os.closed), (vec![(1, MessageName::Refused)], vec![1]));
    assert_eq!(node.links().count(), 0);
}

#[test]
fn nothing_is_accepted_for_a_while_after_descriptors_were_exhausted() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connecting.push_back(Accepted::Failed);
    os.connects(1);
    assert_eq!(os.pass(&mut node), []);
    let again = node.wake_at().expect("it tries again");
    assert!(!node.accepts(os.now()) && node.accepts(again));
    os.now += again.since(os.now());
    assert_eq!(os.pass(&mut node), [Event::Connected(LinkId(1))]);
    assert_eq!(node.wake_at(), None, "the pause is over, and nothing wakes the process for it");
}

#[test]
fn a_status_that_is_asked_for_again_before_it_is_there_is_answered_once() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connects(1);
    os.pass(&mut node);
    for _ in 0..3 {
        os.says(1, Message::StatusQuery);
        os.pass(&mut node);
    }
    os.sent.clear();
    os.replies.push_back(HookReport::Snapshot(StateSnapshot::default()));
    os.pass(&mut node);
    assert_eq!((os.snapshots, os.sent), (1, vec![(1, MessageName::Status)]));
}

#[test]
fn a_status_is_answered_by_the_daemon_and_at_once_while_a_hook_runs() {
    let (mut os, mut node) = (DaemonOs::default(), incumbent());
    os.connects(1);
    os.pass(&mut node);
    os.says(1, Message::StatusQuery);
    os.pass(&mut node);
    assert_eq!(
        (os.snapshots, os.sent.last()),
        (1, Some(&(1, MessageName::Hello))),
        "the daemon is asked first"
    );
    os.replies.push_back(HookReport::Snapshot(StateSnapshot::default()));
    os.pass(&mut node);
    assert_eq!(os.sent.last(), Some(&(1, MessageName::Status)));
    os.says(1, ack());
    os.says(1, prepare());
    os.pass(&mut node);
    assert_eq!((os.hooks.len(), node.role().standing()), (1, Standing::Draining));
    os.says(1, Message::StatusQuery);
    os.pass(&mut node);
    assert_eq!((os.snapshots, os.sent.last()), (1, Some(&(1, MessageName::Status))));
}
