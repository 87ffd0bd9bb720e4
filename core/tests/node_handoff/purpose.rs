//! A successor that is only tried, or is of another build than is expected, is let go before the incumbent is told anything of it.
use handoff::Reason;
use handoff::journal::Journal;
use handoff::machine::StateName;
use handoff::machine::supervisor::{Event, HandoffVerdict, Peer};
use handoff::message::{Message, MessageName, Standing};
use handoff::node::Node;
use handoff::node::handoff::Purpose;

use crate::os::{Did, HandoffScene, ID};

const WARMED: Message = Message::Warmed { handoff_id: ID };

/// A handoff, or a cold start, whose successor is about to say that it is warm. It calls its build "successor".
fn warming_up(replace: bool, build_id: Option<&str>, is_trial: bool) -> HandoffScene {
    let mut scene = HandoffScene::new(replace, Journal::default());
    scene.node = scene.node.for_purpose(Purpose { build_id: build_id.map(Into::into), is_trial });
    scene.begin();
    scene.go_on_to(StateName::AwaitWarmed);
    scene.meet_successor();
    scene.os.did.clear();
    scene
}

fn other_build() -> Reason {
    Reason::OtherBuild { said: "successor".into(), expected: "blue".into() }
}

#[test]
fn one_that_is_not_wanted_is_let_go_and_the_incumbent_is_never_prepared() {
    for (build_id, is_trial, why) in [
        (None, true, Reason::Tried),
        (Some("successor"), true, Reason::Tried),
        (Some("blue"), false, other_build()),
        (Some("blue"), true, other_build()),
    ] {
        let mut scene = warming_up(true, build_id, is_trial);
        scene.os.says(Peer::Successor, WARMED);
        assert_eq!(scene.pass(), [Event::Cancel(why.clone())]);
        // What a heartbeat repeats changes nothing.
        let repeats = Some(Box::new(WARMED));
        scene.os.says(Peer::Successor, Message::Heartbeat { standing: Standing::Warmed, repeats });
        scene.os.says(Peer::Incumbent, Message::Resumed { handoff_id: ID });
        scene.pass();
        assert!(scene.os.has(&Did::Says(Peer::Successor, MessageName::Abort)), "{:?}", scene.os.did);
        scene.os.ends(Peer::Successor);
        scene.pass();
        let outcome = scene.node.outcome().expect("it is over");
        assert_eq!((outcome.verdict, outcome.reason.as_ref()), (HandoffVerdict::RolledBack, Some(&why)));
        assert!(!scene.os.has(&Did::Says(Peer::Incumbent, MessageName::PrepareHandoff)));
        assert!(!scene.os.has(&Did::Says(Peer::Successor, MessageName::Begin)));
    }
}

#[test]
fn one_of_the_expected_build_goes_on() {
    let mut scene = warming_up(true, Some("successor"), false);
    scene.os.says(Peer::Successor, WARMED);
    assert_eq!(scene.pass(), [Event::Frame(Peer::Successor, WARMED)]);
    assert_eq!(scene.node.state(), StateName::AwaitDrained);
}

#[test]
fn one_that_only_a_heartbeat_calls_warm_is_let_go_as_well() {
    let mut scene = warming_up(true, Some("blue"), false);
    let repeats = Some(Box::new(WARMED));
    scene.os.says(Peer::Successor, Message::Heartbeat { standing: Standing::Warmed, repeats });
    assert_eq!(scene.pass(), [Event::Cancel(other_build())]);
}

#[test]
fn a_start_by_another_build_comes_to_nothing() {
    let mut scene = warming_up(false, Some("blue"), false);
    scene.os.says(Peer::Successor, WARMED);
    assert_eq!(scene.pass(), [Event::Cancel(other_build())]);
    scene.os.ends(Peer::Successor);
    scene.pass();
    scene.pass_at_wake();
    assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(HandoffVerdict::NobodyServes));
    assert!(!scene.os.has(&Did::Says(Peer::Successor, MessageName::Begin)));
}

#[test]
fn once_the_incumbent_has_ended_any_successor_is_wanted() {
    let mut scene = warming_up(true, Some("blue"), true);
    scene.os.ends(Peer::Incumbent);
    scene.os.says(Peer::Successor, WARMED);
    let events = scene.pass();
    assert!(
        matches!(events[..], [Event::Ended(Peer::Incumbent, _), Event::Frame(Peer::Successor, _)]),
        "{events:?}"
    );
    assert!(scene.os.has(&Did::Says(Peer::Successor, MessageName::Begin)), "it takes over");
}
