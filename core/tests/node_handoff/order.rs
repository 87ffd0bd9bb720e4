//! The order of events, and what one peer can keep from another.
use std::time::Duration;

use handoff::Reason;
use handoff::host::Clock;
use handoff::machine::StateName;
use handoff::machine::Timer;
use handoff::machine::supervisor::{Event, Peer};
use handoff::message::MessageName;
use handoff::message::{Message, SealProgress};
use handoff::node::{FLOOD, Node};

use crate::os::{Did, HEARTBEAT, HandoffScene, ID, drained, serving};

fn progress() -> Message {
    Message::SealProgress { handoff_id: ID, progress: SealProgress::default() }
}

fn heard(peer: Peer, message: Message) -> Event {
    Event::Frame(peer, message)
}

fn killed(peer: Peer) -> Event {
    Event::Ended(peer, "was killed".into())
}

#[test]
fn both_ends_come_before_each_frame_the_successors_first() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.says(Peer::Incumbent, drained());
    scene.os.ends(Peer::Incumbent);
    scene.os.ends(Peer::Successor);
    assert_eq!(scene.pass(), [killed(Peer::Successor), killed(Peer::Incumbent)]);
}

#[test]
fn an_end_between_two_frames_comes_between_them() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.says(Peer::Incumbent, progress());
    scene.os.says(Peer::Incumbent, progress());
    scene.os.ends_after.push((1, Peer::Successor));
    let frame = heard(Peer::Incumbent, progress());
    assert_eq!(scene.pass(), [frame.clone(), killed(Peer::Successor), frame]);
}

#[test]
fn the_incumbents_frames_come_first_and_each_end_is_told_once() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    scene.os.says(Peer::Successor, serving());
    scene.os.says(Peer::Incumbent, progress());
    assert_eq!(scene.pass(), [heard(Peer::Incumbent, progress()), heard(Peer::Successor, serving())]);
    scene.os.ends(Peer::Successor);
    assert_eq!(scene.pass(), [killed(Peer::Successor)]);
    assert_eq!(scene.pass(), []);
    assert!(scene.node.was_told_of_end(Peer::Successor) && !scene.node.was_told_of_end(Peer::Incumbent));
}

#[test]
fn a_cancel_comes_after_what_was_said_before_it() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    scene.os.cancelled = true;
    scene.os.says(Peer::Successor, serving());
    assert_eq!(scene.pass(), [heard(Peer::Successor, serving()), Event::Cancel(Reason::Cancelled)]);
    assert_eq!(scene.node.state(), StateName::AwaitRetired, "the successor serves: it is too late");
    assert_eq!(scene.pass(), [], "a cancel is told once");
}

#[test]
fn a_timer_has_its_turn_only_when_nothing_else_has_happened() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.passes(HEARTBEAT);
    scene.os.says(Peer::Incumbent, progress());
    assert_eq!(scene.pass(), [heard(Peer::Incumbent, progress())]);
    assert_eq!(scene.pass(), [Event::Timer(Timer::Heartbeat)]);
}

#[test]
fn a_peer_that_floods_delays_neither_the_other_nor_a_timer() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    scene.os.passes(HEARTBEAT);
    (0..2 * FLOOD + 1).for_each(|_| scene.os.says(Peer::Incumbent, progress()));
    scene.os.says(Peer::Successor, progress());
    let events = scene.pass();
    assert_eq!(events.len(), FLOOD + 2);
    assert_eq!(events[FLOOD], heard(Peer::Successor, progress()));
    assert_eq!(events[FLOOD + 1], Event::Timer(Timer::Heartbeat));
}

#[test]
fn nothing_is_sent_over_a_link_that_has_closed() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.os.passes(HEARTBEAT - Duration::from_millis(1));
    assert_eq!(scene.pass(), []);
    scene.os.passes(Duration::from_millis(1));
    assert_eq!(scene.pass(), [Event::Timer(Timer::Heartbeat)]);
    assert_eq!(scene.os.did, [Did::Says(Peer::Successor, MessageName::Heartbeat)]);
}

#[test]
fn what_a_flood_has_left_is_read_without_waiting_for_more() {
    let mut scene = HandoffScene::at(StateName::AwaitReady);
    (0..2 * FLOOD + 1).for_each(|_| scene.os.says(Peer::Incumbent, progress()));
    let now = scene.os.now;
    let passes = [scene.pass().len(), scene.pass_at_wake().len(), scene.pass_at_wake().len()];
    assert_eq!((passes, scene.os.now), ([FLOOD, FLOOD, 1], now));
    assert!(scene.node.wake_at() > Some(scene.os.now()), "all is read");
}
