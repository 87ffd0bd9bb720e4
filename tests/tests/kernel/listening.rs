//! The listening socket that clients know: it is handed from process to process, and never closed.
use crate::arms::{both_over_unix_and_tcp, on_linux};
use crate::stage::Failed;

/// The backlog that `listen(2)` is told in both arms.
const BACKLOG: usize = 128;

#[test]
fn clients_are_queued_though_nobody_accepts_until_the_queue_is_full() {
    both_over_unix_and_tcp("no client is refused in the pause, if the queue is long enough", |stage| {
        let [a] = stage.processes();
        assert_eq!(stage.knock(), Err(Failed::Refused), "nobody listens yet");
        stage.listen(a);
        let visits: Vec<_> = (0..=BACKLOG).map(|_| stage.knock().expect("there is room")).collect();
        assert_eq!(stage.knock(), Err(Failed::QueueFull));
        assert_eq!(stage.answer(a), Some(visits[0]), "first come, first served");
        assert!(stage.knock().is_ok(), "there is room for one more");
        assert_eq!(stage.knock(), Err(Failed::QueueFull));
    });
}

#[test]
fn the_listening_socket_outlives_one_of_its_holders() {
    both_over_unix_and_tcp("a supervisor or a daemon may die, and no client is refused", |stage| {
        let [a] = stage.processes();
        stage.listen(a);
        let b = stage.fork(a);
        stage.end(a);
        let visit = stage.knock().expect("somebody has it");
        assert_eq!(stage.answer(b), Some(visit));
    });
}

#[test]
fn clients_in_the_queue_outlive_the_one_that_was_to_accept_them() {
    both_over_unix_and_tcp("what waits when an incumbent crashes is its successor's to serve", |stage| {
        let [a] = stage.processes();
        stage.listen(a);
        let b = stage.fork(a);
        let (served, queued) = (stage.knock().unwrap(), stage.knock().unwrap());
        assert_eq!(stage.answer(b), Some(served));
        stage.end(b);
        stage.wait_hung_up(served, "what it had accepted dies with it");
        assert!(!stage.is_hung_up(queued));
        assert_eq!(stage.answer(a), Some(queued));
    });
}

#[test]
fn clients_are_refused_once_the_last_holder_has_gone() {
    both_over_unix_and_tcp("somebody must always hold it: the supervisor does", |stage| {
        let [a] = stage.processes();
        stage.listen(a);
        let b = stage.fork(a);
        let queued = stage.knock().expect("there is room");
        stage.close_listener(a);
        assert!(!stage.is_hung_up(queued));
        stage.end(b);
        assert_eq!(stage.knock(), Err(Failed::Refused));
        stage.wait_hung_up(queued, "those that wait go with the queue");
    });
}

#[test]
fn a_stopped_holder_lets_clients_wait() {
    both_over_unix_and_tcp("a client of a stopped daemon is not refused", |stage| {
        let [a] = stage.processes();
        stage.listen(a);
        stage.stop(a);
        let visit = stage.knock().expect("there is room");
        assert!(!stage.is_hung_up(visit));
        stage.go_on(a);
        assert_eq!(stage.answer(a), Some(visit));
    });
}

#[test]
fn a_listening_socket_that_was_passed_on_works_with_its_queue() {
    both_over_unix_and_tcp("a supervisor that comes anew gets the socket from whoever answers", |stage| {
        let [daemon, supervisor] = stage.processes();
        stage.listen(daemon);
        let queued = stage.knock().expect("there is room");
        let (theirs, ours) = stage.link(daemon, supervisor);
        stage.give_listener(theirs);
        stage.receive_listener(ours);
        stage.end(daemon);
        let visit = stage.knock().expect("somebody has it");
        assert_eq!([stage.answer(supervisor), stage.answer(supervisor)], [Some(queued), Some(visit)]);
    });
}

#[test]
fn a_listening_socket_on_its_way_is_alive_though_nobody_has_it() {
    let row = "a listening socket on its way";
    on_linux(row, "a daemon may die between passing the socket on and its being received", |stage| {
        let [daemon, supervisor] = stage.processes();
        stage.listen(daemon);
        let (theirs, ours) = stage.link(daemon, supervisor);
        stage.give_listener(theirs);
        stage.end(daemon);
        let visit = stage.knock().expect("it is in a message that nobody has read");
        stage.receive_listener(ours);
        assert_eq!(stage.answer(supervisor), Some(visit));
    });
}

#[test]
fn a_passed_listening_socket_names_who_made_it() {
    let row = "credentials of the listening socket";
    on_linux(row, "who accepts can't be told by asking who listens", |stage| {
        let [maker] = stage.processes();
        stage.listen(maker);
        let heir = stage.fork(maker);
        stage.end(maker);
        let visit = stage.knock().expect("somebody has it");
        assert_eq!(stage.who_listens(visit), Some(maker), "who called listen, though it has ended");
        assert_eq!(stage.answer(heir), Some(visit));
    });
}
