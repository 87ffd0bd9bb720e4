//! The decisions of a drain, under a clock that the test moves.
use super::{Conduct, Drain, Drained, NextRequest, Patience, Remaining, Way};
use crate::time::{Duration, Time};

const PATIENCE: Patience =
    Patience { stall: Duration::from_millis(250), first_request: Duration::from_millis(100) };
const STEP: u64 = 25;
const GRACE: Duration = Duration::from_secs(10);

fn at(ms: u64) -> Time {
    Time::from_origin(Duration::from_millis(ms))
}

fn new() -> Conduct {
    Conduct::new(at(0), PATIENCE)
}

/// A connection that has had a request and is between two.
fn idle() -> Conduct {
    let mut conduct = in_request();
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: false });
    conduct
}

/// A connection of which a part of a request has been received.
fn in_request() -> Conduct {
    let mut conduct = new();
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: false });
    conduct.received();
    conduct
}

fn draining(mut conduct: Conduct) -> Conduct {
    conduct.drain(at(1000));
    conduct
}

/// Looks every [`STEP`] until the connection is cut, `most` times at most; returns after how many milliseconds that is.
fn cut_after(conduct: &mut Conduct, from: u64, most: u64) -> Option<u64> {
    (1..=most).map(|looks| looks * STEP).find(|passed| conduct.look(at(from + passed)))
}

#[test]
fn without_a_drain_a_client_may_take_its_time() {
    let mut conduct = in_request();
    conduct.blocked(at(0));
    assert_eq!(cut_after(&mut conduct, 0, 1000), None);
    assert_eq!(conduct.remaining(), Remaining::Any);
}

#[test]
fn an_idle_connection_is_closed_at_once() {
    let mut conduct = draining(idle());
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: true });
    assert_eq!(conduct.first_request_in(at(1000)), Duration::ZERO);
    assert_eq!(conduct.way(), Way::Idle);
}

#[test]
fn a_request_that_came_before_the_drain_was_noticed_is_answered_and_is_the_last() {
    let mut conduct = draining(idle());
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: true });
    conduct.received();
    assert_eq!(conduct.remaining(), Remaining::Received);
    assert_eq!(conduct.next(true), NextRequest::Begin, "one that came with it");
    assert_eq!(conduct.next(false), NextRequest::Close, "and no further read");
    assert_eq!(conduct.way(), Way::Served);
}

#[test]
fn a_request_that_has_begun_is_answered_and_nothing_that_came_after_it() {
    let mut conduct = draining(in_request());
    assert_eq!(conduct.remaining(), Remaining::Received);
    conduct.received();
    assert_eq!(conduct.remaining(), Remaining::This);
    assert_eq!(conduct.next(true), NextRequest::Close);
    assert_eq!(conduct.way(), Way::Served);
}

#[test]
fn half_a_request_behind_a_whole_one_is_waited_for_and_is_the_last() {
    let mut conduct = draining(idle());
    conduct.next(false);
    conduct.received();
    assert_eq!(conduct.next(true), NextRequest::Begin);
    conduct.received();
    assert_eq!(conduct.next(true), NextRequest::Close);
}

#[test]
fn a_request_that_was_whole_when_the_drain_began_counts_as_served() {
    let mut conduct = draining(in_request());
    conduct.sent();
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: true });
    assert_eq!(conduct.way(), Way::Served);
}

#[test]
fn a_connection_that_makes_no_progress_is_cut_after_its_bound() {
    let mut conduct = in_request();
    conduct.blocked(at(10));
    conduct.drain(at(1000));
    assert_eq!(cut_after(&mut conduct, 1000, 100), Some(250), "counted from the drain's begin");
    assert_eq!(conduct.way(), Way::Cut);
}

#[test]
fn a_byte_now_and_then_keeps_a_connection_for_ever() {
    let mut conduct = draining(in_request());
    for begin in (1000..60_000).step_by(225) {
        conduct.blocked(at(begin));
        assert_eq!(cut_after(&mut conduct, begin, 9), None);
        if begin % 2 == 0 { conduct.sent() } else { conduct.received() }
    }
    conduct.blocked(at(60_000));
    assert_eq!(cut_after(&mut conduct, 60_000, 100), Some(250));
}

#[test]
fn a_daemon_that_takes_its_time_is_not_its_client_s_fault() {
    let mut conduct = draining(in_request());
    assert_eq!(cut_after(&mut conduct, 1000, 1000), None, "nobody waits for the client");
}

#[test]
fn a_machine_that_was_suspended_cuts_nobody_at_once() {
    let mut conduct = draining(in_request());
    conduct.blocked(at(1000));
    let day = 86_400_000;
    assert!(!conduct.look(at(day)));
    assert_eq!(cut_after(&mut conduct, day, 100), Some(225), "one look counts for no more than another");
}

#[test]
fn looking_often_shortens_nobody_s_time() {
    let mut conduct = draining(in_request());
    conduct.blocked(at(1000));
    assert!((1000..1250).all(|ms| !conduct.look(at(ms)) && !conduct.look(at(ms))));
    assert!(conduct.look(at(1250)));
}

#[test]
fn a_new_connection_has_a_bound_for_its_first_request() {
    let mut conduct = new();
    conduct.next(false);
    conduct.drain(at(30));
    assert_eq!(conduct.next(false), NextRequest::Read { in_drain: true });
    assert_eq!(conduct.first_request_in(at(30)), Duration::from_millis(70));
    assert_eq!(conduct.first_request_in(at(100)), Duration::ZERO);
    assert_eq!(conduct.way(), Way::Idle);
    conduct.received();
    assert_eq!((conduct.next(false), conduct.way()), (NextRequest::Close, Way::Served));
}

#[test]
fn a_client_that_leaves_is_counted_as_gone_whatever_else_is_true() {
    let mut conduct = draining(in_request());
    conduct.gone();
    assert_eq!(conduct.way(), Way::Gone);
}

#[test]
fn a_drain_is_over_with_its_last_connection() {
    let mut drain = Drain::new(at(1000), GRACE);
    assert_eq!(drain.over(at(1000), 0, 4), None);
    for way in [Way::Idle, Way::Served, Way::Cut, Way::Gone] {
        drain.ended(way);
    }
    let drained = Drained { idle: 1, served: 1, cut: 1, gone: 1, kept: 0, left: 0, accept_closed: true };
    assert_eq!(drain.over(at(1000), 0, 0), Some(drained));
}

#[test]
fn the_grace_ends_a_drain_whatever_is_left() {
    let mut drain = Drain::new(at(1000), GRACE);
    drain.ended(Way::Idle);
    assert_eq!(drain.over(at(10_999), 0, 3), None);
    let drained = drain.over(at(11_000), 0, 3).unwrap();
    assert_eq!(drained, Drained { idle: 1, left: 3, accept_closed: true, ..Drained::default() });
}

#[test]
fn accepting_is_given_a_second_even_if_the_grace_is_shorter() {
    let drain = Drain::new(at(0), Duration::ZERO);
    assert_eq!(drain.over(at(999), 1, 0), None);
    assert_eq!(drain.over(at(999), 0, 1).map(|drained| drained.accept_closed), Some(true));
    assert_eq!(drain.over(at(1000), 1, 0).map(|drained| drained.accept_closed), Some(false));
    let drain = Drain::new(at(0), GRACE);
    assert_eq!(drain.over(at(1000), 1, 0), None, "a longer grace is for accepting, too");
}

#[test]
fn a_drain_looks_again_within_a_step_and_when_its_grace_is_over() {
    let step = Duration::from_millis(STEP);
    let drain = Drain::new(at(0), Duration::from_millis(60));
    assert_eq!(drain.pause(at(0), step), step);
    assert_eq!(drain.pause(at(50), step), Duration::from_millis(10));
    assert_eq!(drain.pause(at(70), step), step, "when it waits for an acceptor");
    let endless = Drain::new(at(0), Duration::MAX);
    assert_eq!((endless.over(at(u64::MAX), 0, 1), endless.pause(at(0), step)), (None, step));
}

#[test]
fn a_step_suits_any_bound() {
    let step = |stall| Patience { stall, ..PATIENCE }.step();
    assert_eq!(step(Duration::ZERO), Duration::from_millis(1));
    assert_eq!(step(PATIENCE.stall), Duration::from_millis(STEP));
    assert_eq!(step(Duration::MAX), Duration::from_millis(STEP));
}

#[test]
fn what_was_kept_with_half_a_request_is_waited_for_until_it_is_kept_again() {
    let mut conduct = idle();
    conduct.keep(at(0));
    assert_eq!(conduct.next(true), NextRequest::Park);
    assert!(conduct.release());
    assert!(conduct.take_up(true));
    conduct.keep(at(1));
    assert!(!conduct.is_kept(), "its thread has the half of the request");
    assert_eq!(conduct.next(true), NextRequest::Park);
    assert!(conduct.is_kept());
}

#[test]
fn what_a_drain_keeps_before_a_thread_has_it_again_stays_kept() {
    let mut conduct = idle();
    conduct.keep(at(0));
    assert_eq!(conduct.next(true), NextRequest::Park);
    assert!(conduct.release());
    conduct.keep(at(1));
    assert!(conduct.is_kept());
    assert!(!conduct.take_up(true));
    assert!(conduct.release(), "and a thread is found for it later");
}
