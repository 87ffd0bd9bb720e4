//! The effects of time itself, which the exploration does not model: there, a timer fires when what it waits
//! for has happened.
use handoff::machine::StateName;
use handoff::machine::{
    Awaited, Batch, DaemonEffect, DaemonEvent, IncumbentMachine, LinkId, LockAnswer, Machine,
    RecoveryMachine, Timer, incumbent, recovery,
};
use handoff::message::{
    AwaitsFinal, Capabilities, Hello, HelloAck, Message, PROTO_MAX, PROTO_MIN, Role, Standing,
};
use handoff::time::{Duration, Time};
use handoff::{HandoffId, ProcessId};

const LINK: LinkId = LinkId(1);

fn at_ms(ms: u64) -> Time {
    Time::from_origin(Duration::from_millis(ms))
}

fn incumbent() -> IncumbentMachine {
    let hello = Hello {
        role: Role::Incumbent,
        pid: 1,
        start_time: 1,
        build_id: Vec::new(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    };
    IncumbentMachine::new(hello, 1, Duration::from_secs(1))
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

/// Checks that a daemon that resumed because its supervisor was silent is free for another, however long the
/// first is stopped.
#[test]
fn a_supervisor_that_stays_silent_keeps_no_other_away() {
    let mut incumbent = incumbent();
    let mut now = 0;
    let mut handle = |now: u64, event| {
        let mut batch = Batch::new();
        incumbent.handle(at_ms(now), event, batch.out());
        // What it asks for is done at once.
        let op = batch.effects.iter().find_map(|effect| match effect {
            DaemonEffect::StartHook(op, incumbent::Hook::Resume { .. }) => Some((*op, incumbent::Done::Ok)),
            DaemonEffect::StartHook(op, _) => {
                Some((*op, incumbent::Done::Drained { open_conns_remaining: 0, accept_closed: true }))
            }
            _ => None,
        });
        let mut next = op.map(|(op, done)| DaemonEvent::HookDone(op, Ok(done)));
        let mut sent = batch.effects;
        while let Some(event) = next {
            let mut batch = Batch::new();
            incumbent.handle(at_ms(now), event, batch.out());
            next = batch.last.and_then(|awaited| match awaited {
                Awaited::TakePath(op) => Some(DaemonEvent::PathTaken(op, Ok(()))),
                Awaited::WriteRecord(op, _) => Some(DaemonEvent::Recorded(op, Ok(()))),
                Awaited::Lock(op) => Some(DaemonEvent::Locked(op, LockAnswer::Held { last: None })),
                Awaited::Exit(_) => None,
            });
            sent.extend(batch.effects);
        }
        (sent, incumbent.state(), incumbent.timers().next())
    };
    let prepare = Message::PrepareHandoff {
        handoff_id: HandoffId([1; 16]),
        successor: process(2),
        deadline_ms: 60_000,
        drain_grace_ms: 0,
    };
    handle(now, DaemonEvent::Frame(LINK, ack()));
    let (_, mut state, mut timer) = handle(now, DaemonEvent::Frame(LINK, prepare));
    assert_eq!(state, StateName::Drained);
    while let Some((at, which)) = timer.filter(|_| now < 10_000) {
        now = u64::try_from(at.since(Time::ZERO).as_millis()).unwrap_or(u64::MAX);
        (_, state, timer) = handle(now, DaemonEvent::Timer(which));
    }
    assert_eq!((state, now), (StateName::Serving, 2_000), "after twice the liveness");
    let other = LinkId(2);
    let (sent, state, _) = handle(now, DaemonEvent::Frame(other, ack()));
    assert_eq!(state, StateName::ServingInSession, "{sent:?}");
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, start_time: 1 }
}

fn sighting(pid: u32, sight: recovery::Sight) -> recovery::Sighting {
    recovery::Sighting { process: process(pid), sight, is_swept: false }
}

/// A recovery, and a process that may hold the lock.
struct Silence {
    sighting: recovery::Sighting,
    machine: RecoveryMachine,
    now_ms: u64,
    killed_at_ms: Option<u64>,
    told_final: bool,
    verdict: Option<recovery::RecoveryVerdict>,
    /// The other processes that are there.
    beside: Vec<recovery::Sighting>,
}

impl Silence {
    fn new() -> Silence {
        let config = recovery::Limits {
            liveness: Duration::from_secs(1),
            unreachable_limit: Duration::from_secs(10),
            retire_limit: Duration::from_secs(1),
            deadline: Duration::from_secs(100),
            take_listeners: false,
        };
        let (machine, now_ms) = (RecoveryMachine::new(config), 0);
        let sighting = sighting(2, recovery::Sight::Incumbent);
        let (killed_at_ms, told_final, verdict, beside) = (None, false, None, Vec::new());
        let mut silence = Silence { sighting, machine, now_ms, killed_at_ms, told_final, verdict, beside };
        silence.handle(recovery::Event::Start);
        silence
    }

    fn handle(&mut self, event: recovery::Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let mut batch = Batch::new();
            self.machine.handle(at_ms(self.now_ms), event, batch.out());
            if batch.effects.iter().any(|effect| matches!(effect, recovery::Effect::Kill(_))) {
                self.killed_at_ms = Some(self.now_ms);
            }
            let is_final = |effect: &_| matches!(effect, recovery::Effect::Send(_, Message::Final { .. }));
            self.told_final |= batch.effects.iter().any(is_final);
            let sighting = self.sighting;
            match batch.last {
                Some(recovery::Awaited::Look(_)) => {
                    let all = self.beside.iter().copied().chain([sighting]).collect();
                    next = Some(recovery::Event::Looked(all));
                }
                Some(recovery::Awaited::Finish(outcome)) => self.verdict = Some(outcome.verdict),
                Some(recovery::Awaited::Note(_)) | None => {}
            }
        }
    }

    /// Lets time pass; with `standing`, the process answers every question.
    fn pass(&mut self, until_ms: u64, standing: Option<Standing>) {
        while self.verdict.is_none() {
            let Some((at, timer)) = self.machine.timers().next() else { return };
            let at_ms = u64::try_from(at.since(Time::ZERO).as_millis()).unwrap_or(u64::MAX);
            if at_ms > until_ms {
                break;
            }
            self.now_ms = at_ms;
            self.handle(recovery::Event::Timer(timer));
            if let Some(standing) = standing {
                let report = Message::StandingReport { standing, awaits_final: None };
                self.handle(recovery::Event::Frame(process(2), report));
            }
        }
        self.now_ms = self.now_ms.max(until_ms);
    }
}

#[test]
fn a_process_that_says_nothing_is_killed_after_the_limit_and_before_twice_of_it() {
    let mut silence = Silence::new();
    silence.pass(9_900, None);
    assert_eq!(silence.killed_at_ms, None);
    silence.pass(20_000, None);
    assert!(
        silence.killed_at_ms.is_some_and(|at| (10_000..20_000).contains(&at)),
        "{:?}",
        silence.killed_at_ms
    );
}

#[test]
fn an_answer_begins_the_limit_anew() {
    let mut silence = Silence::new();
    silence.pass(9_000, None);
    silence.pass(9_100, Some(Standing::Sealed));
    silence.pass(19_000, None);
    assert_eq!(silence.killed_at_ms, None);
    silence.pass(30_000, None);
    assert!(silence.killed_at_ms.is_some());
}

#[test]
fn one_that_answers_and_never_serves_is_left_alone_and_that_is_reported() {
    let mut silence = Silence::new();
    silence.pass(99_000, Some(Standing::Opening));
    assert_eq!(silence.verdict, None);
    silence.pass(101_000, Some(Standing::Opening));
    assert_eq!((silence.killed_at_ms, silence.verdict), (None, Some(recovery::RecoveryVerdict::Unconfirmed)));
}

/// A virtual machine that was suspended, say: the deadline is long over, and no process was asked since.
#[test]
fn a_recovery_that_slept_over_its_deadline_hears_those_out_whom_it_asks() {
    let mut silence = Silence::new();
    silence.now_ms = 150_000;
    silence.handle(recovery::Event::Timer(Timer::Deadline));
    assert_eq!(silence.verdict, None);
    silence.pass(150_900, Some(Standing::Serving));
    assert_eq!((silence.verdict, silence.machine.state()), (None, StateName::AwaitNoted));
}

#[test]
fn a_recovery_that_slept_over_its_deadline_does_not_wait_for_ever() {
    let mut silence = Silence::new();
    silence.now_ms = 150_000;
    silence.handle(recovery::Event::Timer(Timer::Deadline));
    silence.pass(151_000, Some(Standing::Opening));
    assert_eq!(silence.verdict, Some(recovery::RecoveryVerdict::Unconfirmed));
}

#[test]
fn one_that_ends_while_the_journal_is_written_is_not_reported_to_serve() {
    let mut silence = Silence::new();
    silence.pass(500, Some(Standing::Serving));
    assert_eq!(silence.machine.state(), StateName::AwaitNoted);
    silence.handle(recovery::Event::Ended(process(2)));
    silence.handle(recovery::Event::Noted(recovery::RecoveryVerdict::Serves(process(2)), Ok(())));
    assert_eq!((silence.verdict, silence.machine.state()), (None, StateName::AwaitServing));
}

#[test]
fn one_that_said_that_it_serves_and_then_says_nothing_is_given_its_time_and_killed() {
    let mut silence = Silence::new();
    silence.pass(500, Some(Standing::Draining));
    let awaits = AwaitsFinal { handoff_id: HandoffId([1; 16]), predecessor: Some(process(2)) };
    let report = Message::StandingReport { standing: Standing::Serving, awaits_final: Some(awaits) };
    silence.handle(recovery::Event::Frame(process(2), report));
    assert_eq!(silence.machine.state(), StateName::AwaitOthers);
    silence.pass(10_000, None);
    assert_eq!((silence.machine.state(), silence.killed_at_ms), (StateName::AwaitServing, None));
    silence.pass(25_000, None);
    assert!(silence.killed_at_ms.is_some());
}

#[test]
fn a_predecessor_that_hangs_and_is_anothers_is_left_alone_and_holds_nobody_up() {
    let mut silence = Silence::new();
    silence.pass(100, Some(Standing::Opening));
    let other = sighting(1, recovery::Sight::Beside);
    silence.beside.push(other);
    let awaits = AwaitsFinal { handoff_id: HandoffId([1; 16]), predecessor: Some(process(1)) };
    let report = Message::StandingReport { standing: Standing::Serving, awaits_final: Some(awaits) };
    for now in (200..5_000).step_by(100) {
        silence.handle(recovery::Event::Frame(process(2), report.clone()));
        silence.pass(now, None);
    }
    assert_eq!((silence.machine.state(), silence.killed_at_ms), (StateName::AwaitNoted, None));
}

#[test]
fn a_process_that_has_the_lock_and_whose_socket_was_removed_is_never_killed() {
    let mut silence = Silence::new();
    silence.sighting.is_swept = true;
    silence.pass(99_000, None);
    assert_eq!((silence.killed_at_ms, silence.verdict), (None, None));
    silence.pass(101_000, None);
    assert_eq!((silence.killed_at_ms, silence.verdict), (None, Some(recovery::RecoveryVerdict::Unconfirmed)));
    let mut silence = Silence::new();
    silence.sighting.is_swept = true;
    silence.pass(50_000, None);
    silence.sighting.is_swept = false;
    silence.pass(51_000, Some(Standing::Serving));
    assert_eq!((silence.killed_at_ms, silence.machine.state()), (None, StateName::AwaitNoted), "it is back");
}

/// The heir's report that it serves, and that it waits for the end of process 1.
fn serves_and_awaits_final() -> recovery::Event {
    let awaits_final = Some(AwaitsFinal { handoff_id: HandoffId([1; 16]), predecessor: Some(process(1)) });
    let report = Message::StandingReport { standing: Standing::Serving, awaits_final };
    recovery::Event::Frame(process(2), report)
}

fn noted_that_it_serves() -> recovery::Event {
    recovery::Event::Noted(recovery::RecoveryVerdict::Serves(process(2)), Ok(()))
}

#[test]
fn a_journal_that_is_written_after_the_deadline_does_not_keep_final_from_the_one_that_serves() {
    let mut silence = Silence::new();
    silence.pass(99_500, Some(Standing::Opening));
    silence.handle(serves_and_awaits_final());
    silence.pass(100_100, None);
    assert_eq!((silence.machine.state(), silence.told_final), (StateName::AwaitNoted, false));
    silence.handle(noted_that_it_serves());
    assert_eq!(silence.verdict, Some(recovery::RecoveryVerdict::Serves(process(2))));
    assert!(silence.told_final);
}

#[test]
fn a_predecessor_that_does_not_end_though_it_was_killed_holds_no_recovery_up_past_its_deadline() {
    let mut silence = Silence::new();
    silence.beside.push(sighting(1, recovery::Sight::Incumbent));
    for now in (500..=100_000).step_by(500) {
        silence.handle(serves_and_awaits_final());
        silence.pass(now, None);
    }
    assert!(silence.killed_at_ms.is_some());
    assert_eq!((silence.verdict, silence.machine.state()), (None, StateName::AwaitNoted));
    silence.handle(noted_that_it_serves());
    assert_eq!(silence.verdict, Some(recovery::RecoveryVerdict::Serves(process(2))));
    assert!(!silence.told_final, "it may live");
}
