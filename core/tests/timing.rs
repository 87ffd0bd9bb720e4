//! What depends on time itself, which the search does not model: there, a timer fires when what it waits for has
//! happened.
use handoff::HandoffId;
use handoff::machine::{Batch, DaemonEffect, DaemonEvent, Incumbent, LinkId, Machine, Timer};
use handoff::message::{Capabilities, Hello, HelloAck, Message, PROTO_MAX, PROTO_MIN, Role, Standing};
use handoff::time::{Duration, Time};

const LINK: LinkId = LinkId(1);

fn at_ms(ms: u64) -> Time {
    Time::from_origin(Duration::from_millis(ms))
}

fn incumbent() -> Incumbent {
    let hello = Hello {
        role: Role::Incumbent,
        pid: 1,
        start_time: 1,
        build_id: Vec::new(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    };
    Incumbent::new(hello, 1, Duration::from_secs(1))
}

fn ack() -> Message {
    Message::HelloAck(HelloAck {
        proto_version_chosen: PROTO_MAX,
        handoff_id: HandoffId([1; 16]),
        incumbent: None,
        liveness_ms: 1_000,
        deadline_ms: 60_000,
        hook_limit_ms: 60_000,
    })
}

/// The supervisor's clock runs a little ahead of the incumbent's: each of its heartbeats comes just before the
/// incumbent's own is due. While nothing else was said, it repeats the acknowledgement.
#[test]
fn a_supervisor_that_is_always_a_moment_earlier_does_not_silence_the_incumbent() {
    let mut incumbent = incumbent();
    let mut batch = Batch::new();
    incumbent.handle(at_ms(0), DaemonEvent::Frame(LINK, ack()), batch.out());
    let mut beats = 0;
    for now in 1..=5_000 {
        let mut batch = Batch::new();
        if now % 200 == 199 {
            let beat = Message::Heartbeat { standing: Standing::Supervising, repeats: Some(Box::new(ack())) };
            incumbent.handle(at_ms(now), DaemonEvent::Frame(LINK, beat), batch.out());
        }
        if let Some((_, timer)) = incumbent.timers().next().filter(|(at, _)| *at <= at_ms(now)) {
            assert_eq!(timer, Timer::Heartbeat, "the supervisor is not silent");
            incumbent.handle(at_ms(now), DaemonEvent::Timer(timer), batch.out());
        }
        let beat =
            |effect: &&DaemonEffect<_>| matches!(effect, DaemonEffect::Send(LINK, Message::Heartbeat { .. }));
        beats += batch.effects.iter().filter(beat).count();
    }
    assert_eq!(beats, 25, "one each 200 ms");
    assert_eq!(incumbent.timers().next().unwrap().1, Timer::Heartbeat);
}
