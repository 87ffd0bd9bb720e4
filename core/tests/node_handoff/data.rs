//! A daemon that replaces none is held to the data that were served before.
use handoff::data::Data;
use handoff::id::{BootId, DirectoryId, InBoot};
use handoff::journal::Journal;
use handoff::machine::StateName;
use handoff::machine::supervisor::{Event, HandoffVerdict, Note, Peer};
use handoff::message::{Message, MessageName, Standing};
use handoff::{Reason, machine::supervisor::Outcome};

use crate::os::{BOOT, DIRECTORY, Did, HandoffScene, UID, binary, ready, serving};

/// Data at revision `at` in `DIRECTORY`.
fn served(at: u64) -> Data {
    Data::opened(BOOT, Some(DIRECTORY), &[at])
}

/// A cold start, when `data` were served before, whose daemon is about to say that it is ready.
fn cold_start(data: Data) -> HandoffScene {
    let before = Journal { committed: Some(binary("old")), data, ..Journal::default() };
    let mut scene = HandoffScene::new(false, before);
    scene.begin();
    scene.go_on_to(StateName::AwaitReady);
    scene
}

/// The end of a cold start whose daemon was killed.
fn refused(scene: &mut HandoffScene) -> Outcome {
    assert!(scene.os.has(&Did::Kills(Peer::Successor)), "{:?}", scene.os.did);
    assert!(!scene.os.has(&Did::Says(Peer::Successor, MessageName::Commit)));
    scene.os.ends(Peer::Successor);
    scene.pass();
    scene.pass_at_wake();
    let outcome = scene.node.outcome().expect("it is over").clone();
    assert_eq!(outcome.verdict, HandoffVerdict::NobodyServes);
    assert!(outcome.reason.as_ref().is_some_and(Reason::is_of_data), "{outcome:?}");
    outcome
}

#[test]
fn a_daemon_that_has_opened_another_directory_is_refused_before_it_serves() {
    let mut scene = cold_start(served(3));
    scene.os.directory = Some(DirectoryId { ino: 10, ..DIRECTORY });
    scene.os.says(Peer::Successor, ready());
    assert!(matches!(scene.pass()[..], [Event::Unfit(Reason::OtherData { .. })]));
    // Repeated, it is nothing new.
    let repeats = Some(Box::new(ready()));
    scene.os.says(Peer::Successor, Message::Heartbeat { standing: Standing::Ready, repeats });
    assert!(matches!(scene.pass()[..], [Event::Frame(Peer::Successor, Message::Heartbeat { .. })]));
    let outcome = refused(&mut scene);
    assert!(outcome.reason.unwrap().to_string().contains("accept-data"), "the remedy is named");
    let (note, journal) = scene.os.journals.last().expect("it is noted");
    assert_eq!(
        (note, &journal.data),
        (&Note::Over(HandoffVerdict::NobodyServes), &served(3)),
        "it is held to the same"
    );
}

#[test]
fn a_daemon_that_is_behind_is_refused_though_only_a_heartbeat_says_so() {
    let mut scene = cold_start(served(4));
    let repeats = Some(Box::new(ready()));
    scene.os.says(Peer::Successor, Message::Heartbeat { standing: Standing::Ready, repeats });
    assert!(matches!(scene.pass()[..], [Event::Unfit(Reason::BehindKnown { .. })]));
    refused(&mut scene);
}

#[test]
fn a_daemon_that_has_what_was_served_serves_and_its_data_are_noted() {
    for known in [served(3), served(2), Data::default()] {
        let mut scene = cold_start(known);
        scene.os.says(Peer::Successor, ready());
        scene.os.says(Peer::Successor, serving());
        scene.pass();
        assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(HandoffVerdict::Committed));
        assert_eq!(scene.os.journals.last().map(|(_, journal)| &journal.data), Some(&served(3)));
    }
}

#[test]
fn a_directory_is_known_again_in_another_boot_though_its_device_has_another_number() {
    let value = DirectoryId { dev: 77, ..DIRECTORY };
    let known = Data { directory: Some(InBoot { boot: BootId([1; 16]), value }), ..served(3) };
    let mut scene = cold_start(known);
    scene.os.says(Peer::Successor, ready());
    scene.pass();
    assert!(scene.os.has(&Did::Says(Peer::Successor, MessageName::Commit)), "{:?}", scene.os.did);
}

/// As an incumbent it would not be believed: it is found at its first start, and not when it serves.
#[test]
fn a_daemon_that_has_become_another_user_is_refused() {
    for (user, refused) in [(UID, false), (0, false), (UID + 1, true)] {
        let mut scene = cold_start(Data::default());
        scene.os.user = user;
        scene.os.says(Peer::Successor, ready());
        let unfit = matches!(scene.pass()[..], [Event::Unfit(Reason::OtherUser { .. })]);
        assert_eq!(unfit, refused, "{user}");
    }
}

/// Holds a successor to its incumbent where there is one, whatever was served before.
#[test]
fn a_successor_is_held_to_what_its_incumbent_has_sealed() {
    let before = Journal { committed: Some(binary("old")), data: served(9), ..Journal::default() };
    let mut scene = HandoffScene::new(true, before);
    scene.begin();
    scene.go_on_to(StateName::AwaitReady);
    scene.os.says(Peer::Successor, ready());
    scene.pass();
    assert!(scene.os.has(&Did::Says(Peer::Successor, MessageName::Commit)), "{:?}", scene.os.did);
    assert_eq!(scene.node.parties().sealed, Some(vec![3]));
}
