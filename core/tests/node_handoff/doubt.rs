//! The belief that nobody serves, which comes once no process answers at the control path.
use std::time::Duration;

use handoff::host::Clock;
use handoff::journal::Journal;
use handoff::machine::Reason;
use handoff::machine::supervisor::{HandoffVerdict, Note, Peer};
use handoff::message::{Message, Role};
use handoff::node::handoff::{Answer, ControlConnection};
use handoff::node::{Credentials, FLOOD, Node};
use handoff::{HostError, ProcessId};

use crate::os::{Did, HandoffScene, UID, hello};

/// The longest time for which an answer at the control path is waited for.
const DOUBT: Duration = Duration::from_millis(100);

const OTHER: ProcessId = ProcessId { pid: 9, start_time: 90 };

fn nobody_listens() -> ControlConnection {
    ControlConnection::Failed(HostError::system("nobody listens"))
}

/// A cold start that could not start anything; the control path is connected to with `connections`.
fn nobody_serves(connections: impl IntoIterator<Item = Option<ControlConnection>>) -> HandoffScene {
    let mut scene = HandoffScene::new(false, Journal::default());
    scene.os.spawned = Some(Err(HostError::system("no such file")));
    scene.os.connections.extend(connections);
    scene.begin();
    assert_eq!(scene.os.did, [Did::Spawns { replaces: false }, Did::Connects]);
    scene
}

impl HandoffScene {
    fn verdict(&self) -> Option<HandoffVerdict> {
        self.node.outcome().map(|outcome| outcome.verdict)
    }
}

fn started() -> Reason {
    Reason::NotStarted(HostError::system("no such file"))
}

#[test]
fn nobody_listens_so_it_is_over_at_once() {
    let mut scene = nobody_serves([Some(nobody_listens())]);
    assert_eq!(scene.pass(), []);
    assert_eq!((scene.verdict(), scene.node.is_over()), (Some(HandoffVerdict::NobodyServes), true));
}

#[test]
fn another_process_answers() {
    let mut scene = nobody_serves([]);
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    scene.os.credentials = Ok(Credentials { uid: UID, pid: Some(OTHER.pid) });
    scene.os.says(Peer::Incumbent, Message::StatusQuery);
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, OTHER));
    assert_eq!(scene.pass(), [], "the machine has come to its end");
    assert_eq!(scene.verdict(), Some(HandoffVerdict::Unconfirmed));
    let reason = scene.node.outcome().and_then(|outcome| outcome.reason.clone());
    assert_eq!(reason, Some(Reason::Answered { pid: OTHER.pid, because: Some(Box::new(started())) }));
}

#[test]
fn a_process_that_only_claims_to_be_another_does_not_answer() {
    let mut scene = nobody_serves([]);
    scene.os.credentials = Ok(Credentials { uid: UID, pid: Some(OTHER.pid + 1) });
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, OTHER));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    assert_eq!((scene.pass_at_wake(), scene.verdict()), (vec![], Some(HandoffVerdict::NobodyServes)));
}

#[test]
fn a_link_that_stays_silent_is_waited_for_and_no_longer() {
    let mut scene = nobody_serves([]);
    let until = scene.os.now() + DOUBT;
    assert_eq!(scene.node.wake_at(), Some(until));
    scene.os.passes(DOUBT - Duration::from_millis(1));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    scene.os.passes(Duration::from_millis(1));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::NobodyServes)));
    assert_eq!(scene.node.outcome().and_then(|outcome| outcome.reason.clone()), Some(started()));
}

#[test]
fn a_link_that_closes_has_answered() {
    let mut scene = nobody_serves([]);
    scene.os.closes(Peer::Incumbent);
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::NobodyServes)));
}

#[test]
fn a_full_queue_is_tried_again_until_the_doubt_is_over() {
    let mut scene = nobody_serves((0..1000).map(|_| Some(ControlConnection::QueueFull)));
    let until = scene.os.now() + DOUBT;
    while scene.verdict().is_none() {
        assert_eq!(scene.pass_at_wake(), []);
    }
    assert_eq!((scene.os.now(), scene.verdict()), (until, Some(HandoffVerdict::NobodyServes)));
    let attempts = scene.os.did.iter().filter(|did| **did == Did::Connects).count();
    assert!((5..=11).contains(&attempts), "{attempts} attempts");
    assert_eq!(scene.node.wake_at(), None);
}

#[test]
fn a_connection_that_comes_later_is_waited_for() {
    let mut scene = nobody_serves([None]);
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    scene.os.answers.push_back(Answer::Connected(ControlConnection::Made));
    scene.os.credentials = Ok(Credentials { uid: UID, pid: Some(OTHER.pid) });
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, OTHER));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::Unconfirmed)));
}

#[test]
fn a_connection_that_fails_later_ends_the_doubt_then() {
    let mut scene = nobody_serves([None]);
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    scene.os.answers.push_back(Answer::Connected(nobody_listens()));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::NobodyServes)));
}

#[test]
fn what_the_journal_answers_late_says_nothing_of_it() {
    let mut scene = HandoffScene::new(false, Journal::default());
    scene.os.written = None;
    scene.begin();
    scene.os.ends(Peer::Successor);
    scene.pass();
    assert!(scene.os.has(&Did::Connects));
    scene.os.answers.push_back(Answer::Written(Note::UnderWay, Ok(())));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], None));
    scene.os.credentials = Ok(Credentials { uid: UID, pid: Some(OTHER.pid) });
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, OTHER));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::Unconfirmed)));
}

#[test]
fn a_process_that_floods_the_link_does_not_prolong_it() {
    let mut scene = nobody_serves([]);
    scene.os.passes(DOUBT);
    (0..10 * FLOOD).for_each(|_| scene.os.says(Peer::Incumbent, Message::StatusQuery));
    assert_eq!((scene.pass(), scene.verdict()), (vec![], Some(HandoffVerdict::NobodyServes)));
    let unread = scene.os.inboxes[&Peer::Incumbent].len();
    assert_eq!(unread, 9 * FLOOD);
}
