//! The ends of links and processes, and which process a peer is believed to be.
use std::time::Duration;

use handoff::host::Clock;
use handoff::machine::StateName;
use handoff::machine::supervisor::{Event, Peer};
use handoff::message::{MessageName, Role};
use handoff::node::{Credentials, END_AT_HAND, Node};
use handoff::{HostError, ProcessId};

use crate::os::{Did, HandoffScene, INCUMBENT, UID, failed, hello, serving};

const STRANGER: ProcessId = ProcessId { pid: 9, start_time: 90 };

fn closed(peer: Peer, why: &str) -> Event {
    Event::Closed(peer, why.into())
}

fn ended(peer: Peer, how: &str) -> Event {
    Event::Ended(peer, how.into())
}

#[test]
fn a_closed_link_is_told_once_its_process_has_had_the_time_to_end() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    assert_eq!(scene.pass(), []);
    assert_eq!(scene.node.wake_at(), Some(scene.os.now() + END_AT_HAND));
    scene.os.passes(END_AT_HAND - Duration::from_millis(1));
    assert_eq!(scene.pass(), []);
    scene.os.passes(Duration::from_millis(1));
    assert_eq!(scene.pass(), [closed(Peer::Incumbent, "end of file")]);
    assert_eq!(scene.pass(), []);
}

#[test]
fn a_process_that_ends_after_its_link_is_told_as_ended_only() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Successor);
    assert_eq!(scene.pass(), []);
    scene.os.passes(END_AT_HAND / 2);
    scene.os.ends(Peer::Successor);
    assert_eq!(scene.pass(), [ended(Peer::Successor, "was killed")]);
    scene.os.passes(END_AT_HAND);
    assert_eq!(scene.pass(), []);
}

#[test]
fn a_process_that_has_ended_by_the_time_its_link_closes_is_told_at_once() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.os.ends_after.push((1, Peer::Incumbent));
    assert_eq!(scene.pass()[..1], [ended(Peer::Incumbent, "was killed")]);
}

#[test]
fn the_last_words_of_the_dead_are_a_reason_and_nothing_else() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    scene.os.says(Peer::Successor, serving());
    scene.os.says(Peer::Successor, failed("the disk is full"));
    scene.os.ends(Peer::Successor);
    assert_eq!(scene.pass(), [ended(Peer::Successor, "was killed: the disk is full")]);
    assert!(scene.os.has(&Did::HangsUp(Peer::Successor)));
}

#[test]
fn a_hello_from_another_process_or_user_is_refused() {
    let other_pid = Credentials { uid: UID, pid: Some(STRANGER.pid) };
    let other_user = Credentials { uid: UID + 1, pid: Some(INCUMBENT.pid) };
    for (peer, why) in [
        (Ok(other_pid), "it calls itself process 1, but is another"),
        (Ok(other_user), "process 1 runs as uid 1001, which is not allowed here"),
        (Err(HostError::system("no such call")), "no such call"),
    ] {
        let mut scene = HandoffScene::at(StateName::AwaitIncumbent);
        scene.os.credentials = peer;
        scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
        assert_eq!(scene.pass(), [closed(Peer::Incumbent, why)]);
        assert_eq!(scene.os.did, [Did::HangsUp(Peer::Incumbent)], "nobody is watched, nothing is started");
        assert_eq!((scene.node.process(Peer::Incumbent), scene.node.parties().incumbent), (None, None));
    }
}

#[test]
fn root_and_a_process_of_another_namespace_may_say_hello() {
    for peer in [
        Credentials { uid: 0, pid: Some(INCUMBENT.pid) },
        Credentials { uid: UID, pid: Some(0) },
        Credentials { uid: UID, pid: None },
    ] {
        let mut scene = HandoffScene::at(StateName::AwaitIncumbent);
        scene.os.credentials = Ok(peer);
        scene.go_on_to(StateName::AwaitWarmed);
        assert_eq!(scene.node.process(Peer::Incumbent), Some(INCUMBENT));
    }
}

#[test]
fn another_process_than_before_is_refused_over_a_new_link() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.pass();
    scene.os.passes(END_AT_HAND);
    scene.pass();
    assert_eq!(scene.node.state(), StateName::AwaitResumed);
    assert!(scene.os.has(&Did::Connects), "it is asked to resume over a new link");
    scene.os.did.clear();
    scene.os.credentials = Ok(Credentials { uid: UID, pid: Some(STRANGER.pid) });
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, STRANGER));
    let why = "another process than before answers at the control path";
    assert_eq!(scene.pass(), [closed(Peer::Incumbent, why)]);
    assert_eq!(scene.os.did, [Did::HangsUp(Peer::Incumbent)]);
    assert_eq!(scene.node.process(Peer::Incumbent), Some(INCUMBENT));
}

#[test]
fn the_incumbent_is_known_again_over_a_new_link() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.pass();
    scene.os.passes(END_AT_HAND);
    scene.pass();
    scene.os.did.clear();
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
    scene.pass();
    let says = |message| Did::Says(Peer::Incumbent, message);
    assert_eq!(
        scene.os.did,
        [says(MessageName::HelloAck), says(MessageName::ResumeAfterAbort)],
        "it is watched already"
    );
}
