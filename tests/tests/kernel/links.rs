//! Links: Unix stream sockets that carry frames.
use crate::arms::{both, on_linux};
use crate::stage::{Heard, Sent};

#[test]
fn frames_come_in_the_order_in_which_they_were_sent() {
    both("a peer's words are understood in the order in which it said them", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        (1..=20).for_each(|tag| assert_eq!(stage.send(from, tag), Sent::Yes));
        assert_eq!(stage.send(to, 77), Sent::Yes);
        (1..=20).for_each(|tag| assert_eq!(stage.read(to), Heard::Frame(tag)));
        assert_eq!(stage.read(from), Heard::Frame(77));
        assert_eq!([stage.look(from), stage.look(to)], [Heard::Nothing; 2]);
    });
}

#[test]
fn a_frame_that_comes_in_pieces_is_one_frame() {
    both("a stream has no frames of its own", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        stage.send_half(from, 1, false);
        assert_eq!(stage.look(to), Heard::Nothing);
        stage.send_half(from, 1, true);
        assert_eq!(stage.send(from, 2), Sent::Yes);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Frame(2)]);
    });
}

#[test]
fn what_was_sent_before_a_death_is_read_and_then_the_end() {
    both("a Ready that is there counts, whatever has become of its sender", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!([stage.send(from, 1), stage.send(from, 2)], [Sent::Yes; 2]);
        stage.end(a);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Frame(2)]);
        assert_eq!(stage.read(to), Heard::Closed);
    });
}

#[test]
fn what_was_sent_before_a_close_is_read_and_then_the_end() {
    both("whoever says why it leaves, and leaves, is heard", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!(stage.send(from, 1), Sent::Yes);
        stage.close(from);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Closed]);
    });
}

#[test]
fn one_that_closes_with_something_unread_is_heard_and_then_resets() {
    both("a reset is the end of a link, and loses nothing that was sent before", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!([stage.send(from, 1), stage.send(to, 9)], [Sent::Yes; 2]);
        stage.close(from);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Reset]);
    });
}

#[test]
fn one_that_is_killed_with_something_unread_is_heard_and_then_resets() {
    both("a crash while a frame is on its way is the end of a link, and no other error", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!([stage.send(to, 9), stage.send(from, 1)], [Sent::Yes; 2]);
        stage.end(a);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Reset]);
    });
}

#[test]
fn a_torn_frame_is_an_error_and_never_a_frame() {
    both("a process that dies in the middle of a word has not said it", |stage| {
        let [a, b, c] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!(stage.send(from, 1), Sent::Yes);
        stage.send_half(from, 2, false);
        stage.end(a);
        assert_eq!([stage.read(to), stage.read(to)], [Heard::Frame(1), Heard::Torn]);

        let (from, to) = stage.link(b, c);
        stage.send_half(from, 3, false);
        stage.close(from);
        assert_eq!(stage.read(to), Heard::Torn);
    });
}

#[test]
fn what_is_sent_to_one_that_has_gone_harms_nobody() {
    both("a send that fails is the link's end, which the next read finds", |stage| {
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        assert_eq!(stage.send(to, 5), Sent::Yes);
        stage.end(b);
        assert_ne!(stage.send(from, 1), Sent::BufferFull);
        assert_eq!([stage.read(from), stage.read(from)], [Heard::Frame(5), Heard::Closed]);
    });
}

#[test]
fn a_stopped_peer_takes_what_is_sent_and_reads_it_when_it_goes_on() {
    both("a supervisor that was stopped finds a Ready that came meanwhile", |stage| {
        const FRAMES: u32 = 200;
        let [a, b] = stage.processes();
        let (from, to) = stage.link(a, b);
        stage.stop(b);
        (1..=FRAMES).for_each(|tag| assert_eq!(stage.send(from, tag), Sent::Yes));
        stage.go_on(b);
        (1..=FRAMES).for_each(|tag| assert_eq!(stage.read(to), Heard::Frame(tag)));
    });
}

#[test]
fn a_stopped_peer_takes_no_more_when_its_buffer_is_full_and_loses_nothing() {
    on_linux(
        "a link's buffer",
        "a heartbeat that can't be sent is left out, and the link is not closed",
        |stage| {
            let [a, b] = stage.processes();
            let (from, to) = stage.link(a, b);
            stage.stop(b);
            let taken = (1..).find(|tag| stage.send(from, *tag) == Sent::BufferFull).expect("it is finite");
            stage.go_on(b);
            (1..taken).for_each(|tag| assert_eq!(stage.read(to), Heard::Frame(tag)));
            assert_eq!(stage.look(to), Heard::Nothing, "what was refused has not come in part");
            assert_eq!(stage.send(from, taken), Sent::Yes);
            assert_eq!(stage.read(to), Heard::Frame(taken));
        },
    );
}
