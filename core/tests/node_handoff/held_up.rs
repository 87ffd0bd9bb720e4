//! A supervisor that was held up is given up by its peers, and the report does not lay that on them.
use std::time::Duration;

use handoff::journal::Journal;
use handoff::machine::StateName;
use handoff::machine::supervisor::{HandoffVerdict, Peer};
use handoff::message::{Message, Role, Standing};
use handoff::node::Node;

use crate::os::{Did, HEARTBEAT, HandoffScene, ID, INCUMBENT, LIVENESS, hello};

/// A handoff whose successor was just started, after a first write of the journal that took so long.
fn starts(write_takes: Duration) -> HandoffScene {
    let mut scene = HandoffScene::new(true, Journal::default());
    scene.begin();
    scene.os.write_takes = write_takes;
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
    scene.pass();
    assert_eq!(scene.node.state(), StateName::AwaitWarmed);
    scene
}

fn passes_until(scene: &mut HandoffScene, state: StateName) {
    for _ in 0..9 {
        if scene.node.state() == state {
            return;
        }
        scene.pass_at_wake();
    }
    assert_eq!(scene.node.state(), state);
}

/// The incumbent has closed its link: what the report says of the handoff, which is rolled back for it. `late`: how long this process is
/// stopped before it reports.
fn told_when_the_incumbent_closed(scene: &mut HandoffScene, late: Duration) -> String {
    scene.os.closes(Peer::Incumbent);
    scene.pass();
    passes_until(scene, StateName::AwaitResumed);
    scene.os.passes(late);
    scene.os.says(Peer::Incumbent, hello(Role::Incumbent, INCUMBENT));
    scene.os.says(Peer::Incumbent, Message::Resumed { handoff_id: ID });
    scene.pass_at_wake();
    passes_until(scene, StateName::AwaitSuccessorEnd);
    scene.os.ends(Peer::Successor);
    scene.os.write_takes = late;
    scene.pass();
    let outcome = scene.node.outcome().expect("it is over");
    assert_eq!(outcome.verdict, HandoffVerdict::RolledBack);
    outcome.reason.as_ref().expect("there is a reason").to_string()
}

#[test]
fn a_journal_that_takes_longer_than_the_liveness_is_named() {
    let told = told_when_the_incumbent_closed(&mut starts(LIVENESS), Duration::ZERO);
    assert!(told.contains("could not be heard for 5.0s, because its journal took so long"), "{told}");
}

#[test]
fn a_supervisor_that_was_stopped_for_as_long_as_peers_wait_says_so() {
    for stopped in [LIVENESS, LIVENESS + HEARTBEAT / 2, 10 * LIVENESS] {
        let mut scene = starts(Duration::ZERO);
        scene.os.passes(stopped);
        let told = told_when_the_incumbent_closed(&mut scene, Duration::ZERO);
        assert!(told.contains("because it did not run: it was stopped"), "{told}");
    }
}

#[test]
fn a_supervisor_that_was_heard_in_time_does_not_excuse_its_peers() {
    let mut scene = starts(LIVENESS / 2);
    // A timer has its turn when nothing else has come.
    scene.pass_at_wake();
    scene.os.passes(LIVENESS / 2 - HEARTBEAT / 10);
    let told = told_when_the_incumbent_closed(&mut scene, Duration::ZERO);
    assert!(!told.contains("could not be heard"), "{told}");
}

#[test]
fn what_holds_a_supervisor_up_after_the_reason_is_known_has_not_led_to_it() {
    let told = told_when_the_incumbent_closed(&mut starts(Duration::ZERO), 3 * LIVENESS);
    assert!(!told.contains("could not be heard"), "{told}");
}

/// The link is made anew, and then the supervisor is stopped for exactly as long as a peer may be silent.
#[test]
fn a_supervisor_that_was_stopped_itself_hears_the_incumbent_out_before_it_kills_it() {
    let mut scene = HandoffScene::at(StateName::AwaitDrained);
    scene.os.closes(Peer::Incumbent);
    scene.pass();
    passes_until(&mut scene, StateName::AwaitResumed);
    scene.os.passes(LIVENESS);
    // One timer a pass: both its heartbeat and the silence were due.
    (0..3).for_each(|_| drop(scene.pass()));
    assert!(!scene.os.has(&Did::Kills(Peer::Incumbent)), "the silence was its own");
    // From here on it runs, and the incumbent says nothing for a whole liveness.
    let began = scene.os.now;
    while !scene.os.has(&Did::Kills(Peer::Incumbent)) {
        scene.os.says(Peer::Successor, beat());
        scene.pass();
        scene.pass_at_wake();
        assert!(scene.os.now <= began + 2 * LIVENESS, "a silent incumbent is killed all the same");
    }
    assert!(scene.os.now >= began + LIVENESS);
}

/// A heartbeat of a successor that is warm.
fn beat() -> Message {
    let warmed = Message::Warmed { handoff_id: ID };
    Message::Heartbeat { standing: Standing::Warmed, repeats: Some(Box::new(warmed)) }
}
