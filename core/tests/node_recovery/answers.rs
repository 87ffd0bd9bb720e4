//! Answers that come at once or later, and what the journal says of what was found.
use handoff::journal::{Binary, Journal, Running};
use handoff::machine::StateName;
use handoff::machine::recovery::{Event, RecoveryVerdict, Sight, Sighting};
use handoff::message::MessageName;
use handoff::node::Node;
use handoff::node::recovery::{Answer, Seen};
use handoff::{HandoffId, HostError};

use crate::os::{A, B, Did, RecoveryScene, awaits_final, hello, listeners, serves};

fn committed() -> Journal {
    let binary = Binary {
        handoff_id: HandoffId([1; 16]),
        path: b"old".to_vec(),
        args: Vec::new(),
        working_dir: None,
        identity: None,
    };
    let running = Running { process: A, build_id: b"build".to_vec(), is_committed: true };
    Journal { running: Some(running), committed: Some(binary), ..Journal::default() }
}

fn sighting(process: handoff::ProcessId, sight: Sight) -> Sighting {
    Sighting { process, sight, is_swept: false }
}

#[test]
fn a_look_that_is_answered_later_is_sighted_then() {
    let mut scene = RecoveryScene::new(&[], committed());
    scene.os.seen = None;
    scene.begin();
    assert_eq!((scene.pass(), &scene.os.did[..]), (vec![], &[Did::Looks(None)][..]));
    scene.os.dead.insert(B);
    scene.os.answers.push_back(Answer::Looked(Seen { beside: vec![B], ..Seen::default() }, None));
    assert_eq!(scene.pass(), [Event::Looked(vec![sighting(A, Sight::Incumbent)])], "the other has ended");
}

#[test]
fn a_connection_is_read_once_it_is_made() {
    let mut scene = RecoveryScene::new(&[A], Journal::default());
    scene.os.connected = None;
    scene.begin();
    assert_eq!(scene.hears(A, hello(A)), []);
    scene.os.answers.push_back(Answer::Connected(A, Ok(())));
    assert_eq!(scene.pass(), [Event::Frame(A, hello(A))]);
}

#[test]
fn a_connection_that_fails_later_is_told_before_what_came_after_it() {
    let mut scene = RecoveryScene::met(&[A, B]);
    scene.os.answers.push_back(Answer::Connected(B, Err(HostError::system("nobody listens"))));
    scene.os.answers.push_back(Answer::Looked(Seen::default(), None));
    let events = scene.hears(A, serves());
    assert_eq!(events, [Event::Closed(B), Event::Looked(vec![]), Event::Frame(A, serves())]);
}

#[test]
fn the_journal_says_which_process_was_found_and_its_build() {
    let mut scene = RecoveryScene::met(&[A]);
    scene.hears(A, serves());
    scene.os.written = None;
    scene.hears(A, listeners(1, false));
    assert_eq!(scene.node.state(), StateName::AwaitNoted);
    let running = Running { process: A, build_id: b"build".to_vec(), is_committed: true };
    assert_eq!(scene.os.journals, [Journal { running: Some(running), ..Journal::default() }]);
    assert_eq!(scene.node.knows(), &scene.os.journals[0]);
    scene.os.answers.push_back(Answer::Written(RecoveryVerdict::Serves(A), Ok(())));
    assert_eq!(scene.pass(), [Event::Noted(RecoveryVerdict::Serves(A), Ok(()))]);
    assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(RecoveryVerdict::Serves(A)));
}

#[test]
fn the_journal_says_that_nobody_was_found() {
    let mut scene = RecoveryScene::new(&[], committed());
    scene.os.dead.insert(A);
    scene.begin();
    assert_eq!(scene.os.journals, [Journal { running: None, ..committed() }]);
    assert_eq!(scene.node.outcome().map(|outcome| outcome.verdict), Some(RecoveryVerdict::NobodyServes));
}

/// A recovery after what `committed` says that finds `process`, which waits for `Final`.
fn finds(process: handoff::ProcessId, written: Option<Result<(), HostError>>) -> RecoveryScene {
    let mut scene = RecoveryScene::new(&[process], committed());
    scene.os.dead.extend((process != A).then_some(A));
    scene.os.written = written;
    scene.begin();
    scene.hears(process, hello(process));
    scene.hears(process, awaits_final());
    scene.hears(process, listeners(1, false));
    assert!(scene.os.has(&Did::Writes(RecoveryVerdict::Serves(process))));
    scene
}

#[test]
fn what_the_journal_can_start_again_is_told_that_its_predecessor_has_ended() {
    let scene = finds(A, Some(Ok(())));
    assert!(scene.os.has(&Did::Says(A, MessageName::Final)));
}

#[test]
fn what_the_journal_can_not_start_again_is_not_told_to_migrate() {
    let scene = finds(B, Some(Ok(())));
    assert!(!scene.os.has(&Did::Says(B, MessageName::Final)), "{:?}", scene.os.did);
    let outcome = scene.node.outcome().expect("it is over");
    assert_eq!(outcome.verdict, RecoveryVerdict::Serves(B));
    assert!(outcome.journal_error.as_ref().is_some_and(|why| why.detail.contains("swapped once more")));
}

#[test]
fn what_the_journal_can_not_start_again_is_not_told_to_migrate_later_either() {
    let mut scene = finds(B, None);
    scene.os.answers.push_back(Answer::Written(RecoveryVerdict::Serves(B), Ok(())));
    assert!(matches!(&scene.pass()[..], [Event::Noted(RecoveryVerdict::Serves(B), Err(_))]));
    assert!(!scene.os.has(&Did::Says(B, MessageName::Final)), "{:?}", scene.os.did);
}

#[test]
fn a_journal_that_can_not_be_written_keeps_final_back() {
    let scene = finds(A, Some(Err(HostError::system("the disk is full"))));
    assert!(!scene.os.has(&Did::Says(A, MessageName::Final)));
    let error = scene.node.outcome().and_then(|outcome| outcome.journal_error.clone());
    let full = HostError::system("the journal could not be written: the disk is full");
    assert_eq!(error, Some(full));
}
