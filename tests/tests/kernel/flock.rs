//! The lock on the data directory.
use crate::arms::{both, both_choosing};

#[test]
fn a_lock_excludes_another_process() {
    both("at most one process writes", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        assert!(!stage.try_lock(b));
        stage.unlock(a);
        assert!(stage.try_lock(b));
        assert!(!stage.try_lock(a));
    });
}

#[test]
fn who_has_the_lock_gets_it_again() {
    both("a machine may ask for the lock that it has", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a) && stage.try_lock(a));
        stage.unlock(a);
        assert!(stage.try_lock(b), "it is held once, however often it was granted");
    });
}

#[test]
fn a_killed_holder_has_freed_its_lock_when_it_has_ended() {
    both("a supervisor sees a process end, and tells another to take the lock", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        stage.end(a);
        assert!(stage.try_lock(b));
    });
}

#[test]
fn a_killed_holder_frees_its_lock_about_when_its_links_close() {
    let choices = ["the lock is free when the link has closed", "the lock is held when the link has closed"];
    both_choosing(&choices, "a takeover on a closed link has to try the lock more than once", |stage| {
        let [supervisor, a, b] = stage.processes();
        let (theirs, _) = stage.link(supervisor, a);
        assert!(stage.try_lock(a));
        stage.kill(a);
        stage.wait_readable(theirs);
        let free = stage.try_lock(b);
        stage.chose(choices[usize::from(!free)]);
        stage.lock(b);
    });
}

#[test]
fn a_forked_child_keeps_the_lock_of_a_holder_that_died() {
    both("a free lock is never taken for granted when its holder has ended", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        let child = stage.fork(a);
        stage.end(a);
        assert!(!stage.try_lock(b));
        stage.end(child);
        assert!(stage.try_lock(b));
    });
}

#[test]
fn unlocking_frees_the_lock_though_a_forked_child_has_the_descriptor() {
    both("a sealed incumbent unlocks explicitly, whatever children it has", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        let child = stage.fork(a);
        assert!(!stage.try_lock(b));
        stage.unlock(a);
        assert!(stage.try_lock(b));
        stage.end(child);
        stage.end(a);
        let [c] = stage.processes();
        assert!(!stage.try_lock(c), "their ends free nothing that is another's");
    });
}

#[test]
fn a_forked_child_lets_go_of_the_lock_when_it_executes() {
    both("a process killed while it starts another leaves the lock to that one for a moment", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        let child = stage.fork(a);
        stage.end(a);
        assert!(!stage.try_lock(b));
        stage.exec(child);
        assert!(stage.try_lock(b));
        assert!(!stage.has_ended(child));
    });
}

#[test]
fn closing_a_duplicate_frees_nothing() {
    both("the lock's descriptor is lent out, for openat(2) and the like", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        stage.close_duplicate(a);
        assert!(!stage.try_lock(b));
    });
}

#[test]
fn a_stopped_holder_keeps_its_lock() {
    both("a process that hangs has to be killed before another may write", |stage| {
        let [a, b] = stage.processes();
        assert!(stage.try_lock(a));
        stage.stop(a);
        stage.pass(5);
        assert!(!stage.try_lock(b));
        stage.end(a);
        assert!(stage.try_lock(b), "a stopped process dies of SIGKILL all the same");
    });
}
