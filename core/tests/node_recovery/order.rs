//! The order of events, and what one process can keep from another.
use handoff::host::Clock;
use handoff::machine::Timer;
use handoff::machine::recovery::{Event, RecoveryVerdict};
use handoff::message::Message;
use handoff::node::{FLOOD, Node};

use crate::os::{A, B, C, Did, PAUSE, RecoveryScene, serves};

fn chatter() -> Message {
    Message::Busy
}

#[test]
fn ends_come_before_each_frame_and_once() {
    let mut scene = RecoveryScene::met(&[A, B, C]);
    scene.os.says(A, chatter());
    scene.os.says(A, chatter());
    scene.os.says(C, serves());
    scene.os.ended.insert(B);
    scene.os.ends_after.push((1, C));
    let frame = Event::Frame(A, chatter());
    assert_eq!(scene.pass(), [Event::Ended(B), frame.clone(), Event::Ended(C), frame]);
    assert!(scene.os.has(&Did::HangsUp(B)) && scene.os.has(&Did::HangsUp(C)));
    assert_eq!(scene.pass(), []);
}

#[test]
fn a_cancel_comes_after_what_was_said_before_it_and_once() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.os.cancelled = true;
    scene.os.says(B, chatter());
    scene.os.says(A, chatter());
    let expected = [Event::Frame(A, chatter()), Event::Frame(B, chatter()), Event::Cancel];
    assert_eq!(scene.pass(), expected);
    assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(RecoveryVerdict::Cancelled));
    assert_eq!((scene.pass(), scene.node.wake_at()), (vec![], None));
}

#[test]
fn a_timer_has_its_turn_only_when_nothing_else_has_happened() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.os.now += PAUSE;
    assert_eq!(scene.hears(A, chatter()), [Event::Frame(A, chatter())]);
    assert_eq!(scene.pass(), [Event::Timer(Timer::Heartbeat)]);
}

#[test]
fn a_peer_that_floods_delays_neither_another_nor_a_timer() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.os.now += PAUSE;
    (0..FLOOD + 1).for_each(|_| scene.os.says(A, chatter()));
    scene.os.says(B, chatter());
    let events = scene.pass();
    assert_eq!(events.len(), FLOOD + 2);
    assert_eq!(events[FLOOD..], [Event::Frame(B, chatter()), Event::Timer(Timer::Heartbeat)]);
    assert_eq!(scene.node.wake_at().map(|at| at.since(scene.os.now())), Some(Default::default()));
    assert_eq!(scene.pass(), [Event::Frame(A, chatter())]);
}
