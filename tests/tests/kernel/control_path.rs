//! The control path: a name that is taken with a rename, and the sockets beside it.
use crate::arms::{both, both_choosing};
use crate::stage::{Failed, Heard, Sent};

#[test]
fn who_connects_after_a_rename_reaches_the_new_one() {
    both("the control path leads to the process that serves", |stage| {
        let [supervisor, old, new] = stage.processes();
        stage.bind(old);
        stage.bind(new);
        assert_eq!(stage.connect(supervisor), Err(Failed::Refused), "nobody has taken it yet");
        stage.take_path(old);
        let before = stage.connect(supervisor).expect("a link");
        stage.take_path(new);
        let after = stage.connect(supervisor).expect("a link");
        assert_eq!(stage.peer(before), Some(old));
        assert_eq!(stage.peer(after), Some(new));
        let accepted = stage.accept(new).expect("one waits");
        assert_eq!(stage.accept(new), None, "and only one");
        assert_eq!(stage.send(after, 1), Sent::Yes);
        assert_eq!(stage.read(accepted), Heard::Frame(1));
    });
}

#[test]
fn two_processes_are_never_both_at_the_path() {
    both("whoever connects talks to one process, and there is always one", |stage| {
        let [supervisor, a, b] = stage.processes();
        stage.bind(a);
        stage.bind(b);
        for owner in [a, b, a, a, b] {
            stage.take_path(owner);
            let link = stage.connect(supervisor).expect("somebody is always there");
            assert_eq!(stage.peer(link), Some(owner));
            let accepted = [a, b].map(|process| stage.accept(process).is_some());
            assert_eq!(accepted, [owner == a, owner == b]);
        }
    });
}

#[test]
fn a_link_that_was_made_before_a_rename_goes_on() {
    both("an incumbent is told to retire after its successor has taken the path", |stage| {
        let [supervisor, old, new] = stage.processes();
        stage.bind(old);
        stage.bind(new);
        stage.take_path(old);
        let link = stage.connect(supervisor).expect("a link");
        let accepted = stage.accept(old).expect("one waits");
        stage.take_path(new);
        stage.end(new);
        assert_eq!(stage.send(link, 1), Sent::Yes);
        assert_eq!(stage.read(accepted), Heard::Frame(1));
    });
}

#[test]
fn who_waits_at_a_replaced_path_can_still_be_accepted() {
    both("a supervisor that connected just before the commit is not lost", |stage| {
        let [supervisor, old, new] = stage.processes();
        stage.bind(old);
        stage.bind(new);
        stage.take_path(old);
        let link = stage.connect(supervisor).expect("a link");
        stage.take_path(new);
        let accepted = stage.accept(old).expect("it waits where it was put");
        assert_eq!(stage.send(accepted, 1), Sent::Yes);
        assert_eq!(stage.read(link), Heard::Frame(1));
    });
}

#[test]
fn who_waits_at_a_replaced_path_is_reset_when_its_owner_ends() {
    both("a supervisor tries again when its link is reset before anybody has answered", |stage| {
        let [supervisor, old, new] = stage.processes();
        stage.bind(old);
        stage.bind(new);
        stage.take_path(old);
        let link = stage.connect(supervisor).expect("a link");
        stage.take_path(new);
        assert_eq!(stage.look(link), Heard::Nothing);
        stage.end(old);
        assert_eq!(stage.read(link), Heard::Reset);
        let again = stage.connect(supervisor).expect("a link");
        assert_eq!(stage.peer(again), Some(new));
    });
}

#[test]
fn a_path_whose_owner_died_refuses() {
    both("nobody serves: it is for a recovery to find out who may", |stage| {
        let [supervisor, old, new] = stage.processes();
        stage.bind(old);
        stage.bind(new);
        stage.take_path(old);
        stage.end(old);
        assert_eq!(stage.connect(supervisor), Err(Failed::Refused));
        assert_eq!(stage.connect_to(supervisor, old), Err(Failed::Refused));
        assert!(stage.connect_to(supervisor, new).is_ok(), "each listens on a socket of its own");
    });
}

#[test]
fn a_stopped_owner_is_connected_to_and_says_nothing() {
    both("connected is not answered: a silent peer is seen by its silence", |stage| {
        let [supervisor, old] = stage.processes();
        stage.bind(old);
        stage.take_path(old);
        stage.stop(old);
        let link = stage.connect(supervisor).expect("a link");
        assert_eq!(stage.send(link, 1), Sent::Yes);
        assert_eq!(stage.look(link), Heard::Nothing);
        stage.go_on(old);
        let accepted = stage.accept(old).expect("one waits");
        assert_eq!(stage.read(accepted), Heard::Frame(1));
    });
}

#[test]
fn both_ends_of_a_control_link_know_who_is_at_the_other() {
    both("nobody acts on the word of a process that only says that it is another", |stage| {
        let [supervisor, rival, daemon] = stage.processes();
        stage.bind(daemon);
        stage.take_path(daemon);
        let first = stage.connect(supervisor).expect("a link");
        let second = stage.connect(rival).expect("a link");
        assert_eq!([stage.peer(first), stage.peer(second)], [Some(daemon); 2]);
        let accepted = [stage.accept(daemon), stage.accept(daemon)].map(|end| end.expect("two wait"));
        assert_eq!(accepted.map(|end| stage.peer(end)), [Some(supervisor), Some(rival)]);
    });
}

#[test]
fn one_that_is_dying_refuses_or_resets() {
    let choices = ["it refuses", "it takes a link, and resets it"];
    both_choosing(&choices, "a supervisor whose link has closed asks again, at the same path", |stage| {
        let [supervisor, daemon] = stage.processes();
        let (theirs, _) = stage.link(supervisor, daemon);
        stage.kill(daemon);
        stage.wait_readable(theirs);
        match stage.connect_to(supervisor, daemon) {
            Ok(link) => {
                assert_eq!(stage.read(link), Heard::Reset);
                stage.chose(choices[1]);
            }
            Err(failed) => {
                assert_eq!(failed, Failed::Refused);
                stage.chose(choices[0]);
            }
        }
        stage.until("it has ended", |stage| stage.has_ended(daemon));
        assert_eq!(stage.connect_to(supervisor, daemon), Err(Failed::Refused));
    });
}
