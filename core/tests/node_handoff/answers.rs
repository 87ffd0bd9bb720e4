//! Answers that come at once or later, and what the journal says after each of its notes.
use std::time::Duration;

use handoff::HostError;
use handoff::data::Data;
use handoff::host::Clock;
use handoff::journal::{Journal, Running, UnderWay};
use handoff::machine::StateName;
use handoff::machine::supervisor::{Event, HandoffVerdict, Note, Peer};
use handoff::message::MessageName;
use handoff::message::{Message, Role};
use handoff::node::Node;
use handoff::node::handoff::{Answer, ControlConnection};
use handoff::time::Time;

use crate::os::{
    BOOT, DIRECTORY, Did, HandoffScene, ID, INCUMBENT, SUCCESSOR, binary, drained, failed, hello, serving,
};

/// After so long a control socket whose queue is full is tried again.
const PAUSE: Duration = Duration::from_millis(10);

fn before() -> Journal {
    let running = Running { process: INCUMBENT, build_id: b"old".to_vec(), is_committed: true };
    let committed = Some(binary("old"));
    Journal { running: Some(running), committed, previous: Some(binary("older")), ..Journal::default() }
}

fn under_way(retiring: bool) -> Option<UnderWay> {
    let binary = binary("new");
    Some(UnderWay { handoff_id: ID, incumbent: Some(INCUMBENT), successor: SUCCESSOR, binary, retiring })
}

/// A handoff after what `before` says that has come to `state`.
fn at(state: StateName) -> HandoffScene {
    let mut scene = HandoffScene::new(true, before());
    scene.begin();
    scene.go_on_to(state);
    scene
}

#[test]
fn a_control_socket_whose_queue_is_full_is_tried_again_after_a_pause() {
    let mut scene = HandoffScene::new(true, Journal::default());
    scene.os.connections.push_back(Some(ControlConnection::QueueFull));
    scene.begin();
    assert_eq!(scene.node.wake_at(), Some(scene.os.now() + PAUSE));
    scene.os.passes(PAUSE - Duration::from_millis(1));
    assert_eq!((scene.pass(), &scene.os.did[..]), (vec![], &[Did::Connects][..]));
    scene.os.passes(Duration::from_millis(1));
    assert_eq!((scene.pass(), &scene.os.did[..]), (vec![], &[Did::Connects, Did::Connects][..]));
    scene.go_on_to(StateName::AwaitWarmed);
}

#[test]
fn a_connection_is_read_once_it_is_made() {
    let mut scene = HandoffScene::new(true, Journal::default());
    scene.os.connections.push_back(None);
    scene.begin();
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
    assert_eq!(scene.pass(), []);
    scene.os.answers.push_back(Answer::Connected(ControlConnection::Made));
    assert_eq!(scene.pass(), [Event::Frame(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT))]);
}

#[test]
fn a_connection_that_fails_later_is_told_then() {
    let mut scene = HandoffScene::new(true, Journal::default());
    scene.os.connections.push_back(None);
    scene.begin();
    assert_eq!(scene.pass(), []);
    scene
        .os
        .answers
        .push_back(Answer::Connected(ControlConnection::Failed(HostError::system("no such file"))));
    assert_eq!(scene.pass(), [Event::ConnectFailed(HostError::system("no such file"))]);
    assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(HandoffVerdict::Unreachable));
}

#[test]
fn a_process_that_is_started_later_is_read_and_watched_from_then_on() {
    let mut scene = HandoffScene::at(StateName::AwaitIncumbent);
    scene.os.spawned = None;
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
    scene.pass();
    assert_eq!(scene.os.did.last(), Some(&Did::Spawns { replaces: true }));
    scene.os.says(Peer::Successor, failed("early"));
    scene.os.ends(Peer::Successor);
    assert_eq!(scene.pass(), [], "no such process is known");
    scene.os.answers.push_back(Answer::Spawned(Ok((SUCCESSOR, binary("new")))));
    let ended = Event::Ended(Peer::Successor, "was killed: early".into());
    assert_eq!(scene.pass()[..2], [Event::Spawned(Ok(SUCCESSOR)), ended]);
    assert_eq!(scene.node.parties().successor, Some((SUCCESSOR, binary("new"))));
}

#[test]
fn what_is_written_later_is_told_before_all_else() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    scene.os.written = None;
    scene.os.says(Peer::Successor, serving());
    assert_eq!(scene.pass().len(), 1);
    assert_eq!(scene.node.state(), StateName::AwaitCommitted);
    scene.os.says(Peer::Incumbent, drained());
    scene.os.ends(Peer::Incumbent);
    scene.os.answers.push_back(Answer::Written(Note::Committed, Ok(())));
    let events = scene.pass();
    assert_eq!(events[0], Event::Persisted(Note::Committed, Ok(())));
    assert_eq!(events[1], Event::Ended(Peer::Incumbent, "was killed".into()));
}

#[test]
fn the_journal_says_what_each_note_adds() {
    let mut scene = at(StateName::AwaitWarmed);
    let noted = Journal { under_way: under_way(false), ..before() };
    assert_eq!(scene.os.journals, [(Note::UnderWay, noted)]);
    scene.go_on_to(StateName::AwaitRetired);
    let running = Running { process: SUCCESSOR, build_id: b"successor".to_vec(), is_committed: true };
    let committed = Journal {
        running: Some(running),
        committed: Some(binary("new")),
        previous: Some(binary("old")),
        under_way: under_way(true),
        data: Data::opened(BOOT, Some(DIRECTORY), &[3]),
        ..before()
    };
    assert_eq!(scene.os.journals[1..], [(Note::Committed, committed.clone())]);
    scene.os.ends(Peer::Incumbent);
    scene.pass();
    assert_eq!(scene.os.did.last(), Some(&Did::Says(Peer::Successor, MessageName::Final)));
    assert_eq!(scene.node.knows(), &committed, "a later supervisor may have to end the incumbent");
}

#[test]
fn the_journal_says_after_a_roll_back_what_it_said_before() {
    let mut scene = at(StateName::AwaitDrained);
    scene.os.ends(Peer::Successor);
    scene.pass();
    scene.os.says(Peer::Incumbent, Message::Resumed { handoff_id: ID });
    scene.pass();
    assert_eq!(scene.os.journals.last(), Some(&(Note::Over(HandoffVerdict::RolledBack), before())));
}

#[test]
fn the_journal_says_that_nobody_serves_and_what_is_to_be_started_then() {
    let mut scene = at(StateName::AwaitDrained);
    scene.os.ends(Peer::Successor);
    scene.os.ends(Peer::Incumbent);
    scene.pass();
    let nobody = Journal { running: None, ..before() };
    assert_eq!(scene.os.journals.last(), Some(&(Note::Over(HandoffVerdict::NobodyServes), nobody)));
}

#[test]
fn what_could_not_be_written_is_known_and_comes_with_the_next_note() {
    let mut scene = HandoffScene::new(false, before());
    scene.os.written = Some(Err(HostError::system("the disk is full")));
    scene.begin();
    scene.os.written = Some(Ok(()));
    scene.go_on_to(StateName::AwaitServing);
    scene.os.says(Peer::Successor, serving());
    scene.pass();
    let (note, journal) = scene.os.journals.last().expect("two notes");
    assert_eq!((*note, &journal.committed), (Note::Committed, &Some(binary("new"))));
    let under_way = journal.under_way.as_ref().expect("it comes with the commit");
    assert_eq!((under_way.successor, under_way.incumbent), (SUCCESSOR, None));
}

#[test]
fn what_a_timer_leads_to_does_not_wait_for_the_next_one() {
    let nobody = ControlConnection::Failed(HostError::system("nobody listens"));
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.pass();
    scene.os.connections.extend([Some(nobody.clone()), Some(nobody.clone())]);
    // The closed link, then an attempt to connect that fails.
    scene.pass_at_wake();
    assert_eq!(scene.node.state(), StateName::AwaitResumed);
    scene.os.did.clear();
    while !scene.os.has(&Did::Connects) {
        scene.pass_at_wake();
    }
    assert_eq!(scene.node.wake_at(), Some(Time::ZERO), "it has failed: that is told now");
    let failed = Event::ConnectFailed(HostError::system("nobody listens"));
    assert_eq!(scene.pass(), [failed]);
}
