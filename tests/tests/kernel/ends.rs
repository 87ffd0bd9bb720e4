//! Ends of processes, and which process is which.
use crate::arms::{both, both_choosing};
use crate::stage::Heard;

#[test]
fn who_has_ended_has_closed_its_links_and_freed_its_lock() {
    both("the end of a process comes last: what it sent is all there, and its lock is free", |stage| {
        let [supervisor, a, b] = stage.processes();
        let (theirs, ours) = stage.link(supervisor, a);
        assert!(stage.try_lock(a));
        stage.send(ours, 1);
        stage.end(a);
        assert!(stage.try_lock(b));
        assert_eq!([stage.look(theirs), stage.look(theirs)], [Heard::Frame(1), Heard::Closed]);
    });
}

#[test]
fn a_link_that_has_closed_does_not_say_that_its_process_has_ended() {
    let choices = ["it has ended", "it has not ended yet"];
    both_choosing(&choices, "ended, closed and silent are three things", |stage| {
        let [supervisor, a] = stage.processes();
        let (theirs, _) = stage.link(supervisor, a);
        stage.kill(a);
        stage.wait_readable(theirs);
        let ended = stage.has_ended(a);
        stage.chose(choices[usize::from(!ended)]);
        stage.until("it has ended", |stage| stage.has_ended(a));
        assert_eq!(stage.read(theirs), Heard::Closed);
    });
}

#[test]
fn one_that_closes_its_links_or_is_stopped_has_not_ended() {
    both("nobody is taken for dead who may go on", |stage| {
        let [a, b] = stage.processes();
        let (theirs, ours) = stage.link(a, b);
        stage.close(ours);
        stage.stop(b);
        assert_eq!(stage.read(theirs), Heard::Closed);
        stage.pass(5);
        assert!(!stage.has_ended(b));
        assert!(stage.identity(b).is_some());
        stage.end(b);
    });
}

#[test]
fn a_pid_and_its_start_time_tell_processes_apart() {
    both("a record or a journal names a process, and never a later one with its number", |stage| {
        let [a] = stage.processes();
        let first = stage.identity(a).expect("it runs");
        // Longer than the unit of start times.
        stage.pass(20);
        let [b] = stage.processes();
        let second = stage.identity(b).expect("it runs");
        assert_eq!(stage.identity(a), Some(first), "it does not change");
        assert!(first.pid != second.pid && first.start_time < second.start_time);
        stage.exec(a);
        assert_eq!(stage.identity(a), Some(first), "another program is the same process");
        stage.end(a);
        assert_eq!(stage.identity(a), None);
    });
}
