use super::*;
use crate::id::ProcessId;

const MS: Duration = Duration::from_millis(1);
const CONFIG: Limits = Limits {
    liveness: Duration::from_millis(500),
    restart_min: Duration::from_millis(10),
    restart_max: Duration::from_millis(100),
    fall_back_after: 2,
    stop_grace: Duration::from_millis(1000),
};
const DAEMON: recovery::RecoveryVerdict =
    recovery::RecoveryVerdict::Serves(ProcessId { pid: 1, start_time: 1 });
const NOBODY: recovery::RecoveryVerdict = recovery::RecoveryVerdict::NobodyServes;
const RECOVER: Option<KeeperStep> = Some(KeeperStep::Begin(Task::Recover));
const SWAP: Option<KeeperStep> = Some(KeeperStep::Begin(Task::Swap));
const COMMITTED: TaskEnd = over(HandoffVerdict::Committed);

const fn over(verdict: HandoffVerdict) -> TaskEnd {
    TaskEnd::Over { verdict, journalled: true, of_data: false }
}

const fn start(which: Which) -> Option<KeeperStep> {
    Some(KeeperStep::Begin(Task::ColdStart(which)))
}

/// A supervisor, its clock, and what it has.
struct KeeperStory {
    keeper: Keeper,
    now: Time,
    kept: Kept,
}

impl KeeperStory {
    /// A supervisor that begins.
    fn begins(was_stopped: bool) -> KeeperStory {
        KeeperStory { keeper: Keeper::new(CONFIG, was_stopped), now: Time::ZERO, kept: Kept::Both }
    }

    /// A supervisor that has found that a daemon serves.
    fn serves() -> KeeperStory {
        let mut story = KeeperStory::begins(false);
        story.begins_with(RECOVER);
        story.finds(DAEMON);
        story.rests();
        story
    }

    fn next(&mut self) -> Option<KeeperStep> {
        self.keeper.next(self.now, self.kept)
    }

    #[track_caller]
    fn begins_with(&mut self, step: Option<KeeperStep>) {
        assert_eq!(self.next(), step);
    }

    #[track_caller]
    fn rests(&mut self) {
        assert_eq!(self.next(), None);
        assert!(self.keeper.is_settled(), "{:?}", self.keeper);
    }

    /// Nothing happens for `wait`; then `step` is due.
    #[track_caller]
    fn waits(&mut self, wait: Duration, step: Option<KeeperStep>) {
        if wait > Duration::ZERO {
            assert_eq!(self.next(), None);
            assert_eq!(self.keeper.wake_at(), Some(self.now + wait));
            self.now = self.now + (wait - MS);
            assert_eq!(self.next(), None);
            self.now = self.now + MS;
        }
        self.begins_with(step);
    }

    fn finds(&mut self, found: recovery::RecoveryVerdict) {
        self.keeper.recovered(self.now, found, false);
    }

    fn ends(&mut self, end: TaskEnd) {
        self.keeper.ended(self.now, end);
    }

    #[track_caller]
    fn swap_ends(&mut self, end: TaskEnd) {
        assert_eq!(self.keeper.ask(), Ok(Task::Swap));
        self.ends(end);
    }

    /// A daemon that had served for `lived` ends, the last one. How long until which binary is started.
    #[track_caller]
    fn daemon_ends_after(&mut self, lived: Duration) -> (Duration, Which) {
        self.now = self.now + lived;
        self.keeper.daemon_ended(self.now, lived);
        self.starts()
    }

    /// A recovery finds no daemon; how long until which binary is started.
    #[track_caller]
    fn starts(&mut self) -> (Duration, Which) {
        self.begins_with(RECOVER);
        self.finds(NOBODY);
        let pause = self.keeper.pause(self.now);
        self.now = self.now + pause;
        match self.next() {
            Some(KeeperStep::Begin(Task::ColdStart(which))) => (pause, which),
            step => panic!("nothing is started, but {step:?}"),
        }
    }
}

#[test]
fn only_what_was_asked_for_may_be_called_off_alone() {
    let mut story = KeeperStory::begins(false);
    story.begins_with(RECOVER);
    assert_eq!(story.keeper.may_call_off(), Err(Activity::Recovering));
    story.finds(DAEMON);
    assert_eq!(story.keeper.may_call_off(), Err(Activity::Watching));
    assert_eq!(story.keeper.ask(), Ok(Task::Swap));
    assert_eq!(story.keeper.may_call_off(), Ok(()));
    story.keeper.stop();
    assert_eq!(story.keeper.may_call_off(), Err(Activity::Stopping), "it is called off already");
}

#[test]
fn a_supervisor_that_begins_finds_out_who_serves_before_anything_else() {
    let mut story = KeeperStory::begins(true);
    assert_eq!(story.keeper.ask(), Err(Activity::Recovering));
    story.begins_with(RECOVER);
    story.begins_with(None);
    story.finds(NOBODY);
    story.begins_with(start(Which::Configured));
    story.ends(COMMITTED);
    story.rests();
    assert_eq!(story.daemon_ends_after(MS), (Duration::ZERO, Which::Last), "it was committed by now");
}

#[test]
fn what_was_committed_is_started_again_and_what_is_configured_if_nothing_was() {
    for (was_stopped, kept, which) in [
        (false, Kept::Both, Which::Last),
        (false, Kept::Last, Which::Last),
        (false, Kept::Nothing, Which::Configured),
        (true, Kept::Both, Which::Configured),
    ] {
        let mut story = KeeperStory { kept, ..KeeperStory::begins(was_stopped) };
        assert_eq!(story.starts(), (Duration::ZERO, which));
    }
}

#[test]
fn a_start_that_is_refused_for_its_data_blames_no_binary_and_comes_at_once_when_that_is_mended() {
    let refused = TaskEnd::Over { verdict: HandoffVerdict::NobodyServes, journalled: true, of_data: true };
    let mut story = KeeperStory::begins(false);
    for pause in [0, 0, 10, 20, 40] {
        assert_eq!(story.starts(), (pause * MS, Which::Last));
        assert_eq!(story.keeper.start_now(story.now), Err(Activity::Starting));
        story.ends(refused);
    }
    story.begins_with(RECOVER);
    story.finds(NOBODY);
    assert_eq!(story.next(), None);
    assert_eq!(story.keeper.start_now(story.now), Ok(()));
    story.begins_with(start(Which::Last));
    story.ends(COMMITTED);
    story.rests();
    assert!(!story.keeper.has_fallen_back());
    assert_eq!(story.keeper.start_now(story.now), Err(Activity::Watching));
}

#[test]
fn after_a_swap_a_recovery_follows_unless_it_is_known_who_serves() {
    let unwritten = TaskEnd::Over { verdict: HandoffVerdict::Committed, journalled: false, of_data: false };
    for (end, follows) in [
        (over(HandoffVerdict::Committed), None),
        (unwritten, RECOVER),
        (over(HandoffVerdict::RolledBack), None),
        (over(HandoffVerdict::FellBack), RECOVER),
        (over(HandoffVerdict::Unconfirmed), RECOVER),
        (over(HandoffVerdict::NobodyServes), RECOVER),
        (over(HandoffVerdict::Busy), RECOVER),
        (over(HandoffVerdict::Unreachable), RECOVER),
        (over(HandoffVerdict::Cancelled), None),
        (TaskEnd::NotBegun, None),
    ] {
        let mut story = KeeperStory::serves();
        story.swap_ends(end);
        assert_eq!(story.next(), follows, "{end:?}");
        assert_eq!(end.is_clear(true), follows.is_none());
    }
}

#[test]
fn after_a_cold_start_that_did_not_commit_all_are_asked_and_the_next_one_waits() {
    for verdict in [
        HandoffVerdict::RolledBack,
        HandoffVerdict::Cancelled,
        HandoffVerdict::NobodyServes,
        HandoffVerdict::Unconfirmed,
    ] {
        let mut story = KeeperStory::begins(false);
        assert_eq!(story.starts(), (Duration::ZERO, Which::Last));
        story.ends(over(verdict));
        assert_eq!(story.starts().0, Duration::ZERO, "{verdict:?}: the first time at once");
        story.ends(over(verdict));
        assert_eq!(story.starts().0, CONFIG.restart_min, "{verdict:?}");
    }
}

#[test]
fn a_start_that_can_not_begin_is_tried_again_after_a_pause_and_nobody_is_asked() {
    let mut story = KeeperStory::begins(true);
    assert_eq!(story.starts(), (Duration::ZERO, Which::Configured));
    story.ends(TaskEnd::NotBegun);
    story.begins_with(start(Which::Configured));
    story.ends(TaskEnd::NotBegun);
    story.waits(CONFIG.restart_min, start(Which::Configured));
}

#[test]
fn a_recovery_that_is_not_confirmed_is_begun_anew_after_a_liveness_and_a_second_at_most() {
    for (liveness, pause) in [(500, 500), (1000, 1000), (5000, 1000)] {
        let config = Limits { liveness: liveness * MS, ..CONFIG };
        let mut story = KeeperStory { keeper: Keeper::new(config, false), ..KeeperStory::begins(false) };
        story.begins_with(RECOVER);
        story.finds(recovery::RecoveryVerdict::Unconfirmed);
        story.waits(pause * MS, RECOVER);
    }
}

#[test]
fn a_swap_that_nobody_knew_the_end_of_is_committed_when_its_successor_is_found() {
    let falls_back = || {
        let mut story = KeeperStory::serves();
        assert_eq!(story.daemon_ends_after(MS).1, Which::Last);
        story.ends(COMMITTED);
        assert_eq!(story.daemon_ends_after(MS).1, Which::Before);
        story.ends(COMMITTED);
        assert!(story.keeper.has_fallen_back());
        story.swap_ends(over(HandoffVerdict::Unconfirmed));
        story.begins_with(RECOVER);
        story
    };
    let mut story = falls_back();
    story.keeper.recovered(story.now, DAEMON, true);
    assert!(!story.keeper.has_fallen_back(), "the newest serves");
    let mut story = falls_back();
    story.keeper.recovered(story.now, DAEMON, false);
    assert!(story.keeper.has_fallen_back(), "the one before serves on");
}

#[test]
fn a_daemon_that_keeps_dying_is_started_again_after_longer_and_longer_pauses() {
    let mut story = KeeperStory { kept: Kept::Last, ..KeeperStory::serves() };
    for pause in [0, 10, 20, 40, 80, 100, 100] {
        assert_eq!(story.daemon_ends_after(MS), (pause * MS, Which::Last));
        story.ends(COMMITTED);
        story.rests();
    }
    assert_eq!(story.daemon_ends_after(101 * MS).0, Duration::ZERO, "one that lived has proved itself");
    story.ends(COMMITTED);
    story.daemon_ends_after(MS);
    story.ends(COMMITTED);
    story.swap_ends(COMMITTED);
    assert_eq!(story.daemon_ends_after(MS).0, Duration::ZERO, "all begins anew with what was asked for");
}

#[test]
fn a_daemon_that_keeps_dying_gives_its_turn_to_the_one_before_and_back() {
    let mut story = KeeperStory::serves();
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push((story.daemon_ends_after(MS).1, story.keeper.has_fallen_back()));
        story.ends(COMMITTED);
    }
    use Which::{Before, Last};
    assert_eq!(turns, [(Last, false), (Before, true), (Last, true), (Before, false)]);
    story.kept = Kept::Last;
    story.swap_ends(COMMITTED);
    assert!((0..9).all(|_| {
        let (_, which) = story.daemon_ends_after(MS);
        story.ends(COMMITTED);
        which == Last
    }));
}

#[test]
fn a_request_is_refused_while_something_is_under_way_or_unknown() {
    let mut story = KeeperStory::serves();
    assert_eq!(story.keeper.ask(), Ok(Task::Swap));
    assert_eq!(story.keeper.ask(), Err(Activity::Swapping));
    story.ends(over(HandoffVerdict::Unconfirmed));
    assert_eq!(story.keeper.ask(), Err(Activity::Recovering));
    assert_eq!(story.starts().1, Which::Last);
    assert_eq!(story.keeper.ask(), Err(Activity::Starting));
    story.ends(COMMITTED);
    story.rests();
}

#[test]
fn a_request_in_a_pause_starts_what_is_asked_for_at_once_and_its_failure_blames_nobody_else() {
    let mut story = KeeperStory::serves();
    assert_eq!(story.daemon_ends_after(101 * MS).1, Which::Last);
    story.ends(over(HandoffVerdict::NobodyServes));
    story.begins_with(RECOVER);
    story.finds(NOBODY);
    let left = story.keeper.pause(story.now);
    assert_eq!((story.keeper.activity(), left), (Activity::BackingOff, 10 * MS));
    assert_eq!(story.keeper.ask(), Ok(Task::ColdStart(Which::Asked)));
    assert_eq!(story.keeper.activity(), Activity::Swapping);
    story.ends(TaskEnd::NotBegun);
    assert_eq!(story.keeper.pause(story.now), left, "nothing was touched");
    assert_eq!(story.keeper.ask(), Ok(Task::ColdStart(Which::Asked)));
    story.ends(over(HandoffVerdict::NobodyServes));
    assert_eq!(
        story.starts(),
        (20 * MS, Which::Last),
        "after two failures of its own the other would have its turn"
    );
}

#[test]
fn a_reload_while_something_is_under_way_comes_after_it_and_once() {
    let mut story = KeeperStory::serves();
    assert_eq!(story.keeper.reload(), Ok(()));
    story.begins_with(SWAP);
    assert_eq!(story.keeper.reload(), Err(Activity::Swapping));
    assert_eq!(story.keeper.reload(), Err(Activity::Swapping));
    story.ends(over(HandoffVerdict::RolledBack));
    story.begins_with(SWAP);
    story.ends(COMMITTED);
    story.rests();
}

#[test]
fn a_reload_in_a_recovery_and_a_cold_start_is_not_lost() {
    let mut story = KeeperStory::begins(false);
    story.begins_with(RECOVER);
    assert_eq!(story.keeper.reload(), Err(Activity::Recovering));
    story.finds(recovery::RecoveryVerdict::Unconfirmed);
    story.waits(CONFIG.liveness, RECOVER);
    story.finds(DAEMON);
    story.begins_with(SWAP);
    story.ends(over(HandoffVerdict::NobodyServes));
    assert_eq!(story.starts().1, Which::Last);
    assert_eq!(story.keeper.reload(), Err(Activity::Starting));
    story.ends(COMMITTED);
    story.begins_with(SWAP);
    story.ends(COMMITTED);
    story.rests();
}

#[test]
fn a_reload_where_nobody_serves_starts_what_is_configured_by_now() {
    let mut story = KeeperStory::serves();
    story.keeper.daemon_ended(story.now, MS);
    story.begins_with(RECOVER);
    assert_eq!(story.keeper.reload(), Err(Activity::Recovering));
    story.finds(NOBODY);
    story.begins_with(start(Which::Asked));
    story.ends(COMMITTED);
    story.rests();
}

#[test]
fn a_reload_that_met_no_daemon_is_tried_again_after_longer_and_longer_pauses() {
    for end in [over(HandoffVerdict::Unreachable), over(HandoffVerdict::Busy)] {
        let mut story = KeeperStory::serves();
        assert_eq!(story.keeper.reload(), Ok(()));
        for pause in [0, 0, 10, 20, 40, 80, 100, 100] {
            story.waits(pause * MS, SWAP);
            story.ends(end);
            story.begins_with(RECOVER);
            story.finds(DAEMON);
            assert!(!story.keeper.is_settled());
        }
        assert_eq!(story.keeper.reload(), Ok(()), "a new signal does not wait");
        story.begins_with(SWAP);
        story.ends(COMMITTED);
        story.rests();
    }
}

#[test]
fn a_reload_that_met_no_daemon_is_kept_until_one_serves_again() {
    let mut story = KeeperStory::serves();
    let _ = story.keeper.reload();
    story.begins_with(SWAP);
    story.ends(over(HandoffVerdict::Unreachable));
    story.begins_with(RECOVER);
    story.finds(recovery::RecoveryVerdict::Unconfirmed);
    story.waits(CONFIG.liveness, RECOVER);
    story.finds(NOBODY);
    story.begins_with(start(Which::Asked));
    story.ends(COMMITTED);
    story.rests();
}

#[test]
fn a_reload_that_met_the_daemon_is_not_tried_again_and_neither_is_a_request_that_was_answered() {
    let mut story = KeeperStory::serves();
    let _ = story.keeper.reload();
    story.begins_with(SWAP);
    story.ends(over(HandoffVerdict::RolledBack));
    story.rests();
    story.swap_ends(over(HandoffVerdict::Unreachable));
    story.begins_with(RECOVER);
    story.finds(DAEMON);
    story.rests();
}

#[test]
fn a_stop_ends_the_daemon_and_kills_it_after_its_grace() {
    let mut story = KeeperStory::serves();
    story.keeper.stop();
    assert_eq!(story.keeper.ask(), Err(Activity::Stopping));
    assert_eq!(story.keeper.reload(), Err(Activity::Stopping));
    story.begins_with(Some(KeeperStep::Terminate));
    story.waits(CONFIG.stop_grace, Some(KeeperStep::Kill));
    assert_eq!((story.next(), story.keeper.wake_at()), (None, None));
}

#[test]
fn a_stop_calls_off_a_swap_and_starts_nothing_after_it() {
    for end in [COMMITTED, over(HandoffVerdict::RolledBack), over(HandoffVerdict::Unconfirmed)] {
        let mut story = KeeperStory::serves();
        assert_eq!(story.keeper.ask(), Ok(Task::Swap));
        let _ = story.keeper.reload();
        story.keeper.stop();
        story.begins_with(Some(KeeperStep::CallOff));
        story.begins_with(None);
        story.ends(end);
        story.begins_with(Some(KeeperStep::Terminate));
    }
}

#[test]
fn a_stop_waits_until_it_is_known_who_is_to_be_stopped_and_its_grace_at_most() {
    let mut story = KeeperStory::begins(false);
    story.begins_with(RECOVER);
    story.keeper.stop();
    story.begins_with(None);
    story.finds(DAEMON);
    story.begins_with(Some(KeeperStep::Terminate));

    let mut story = KeeperStory::begins(false);
    story.begins_with(RECOVER);
    story.keeper.stop();
    story.waits(CONFIG.stop_grace, Some(KeeperStep::CallOff));
    story.finds(recovery::RecoveryVerdict::Cancelled);
    story.begins_with(Some(KeeperStep::LeaveAlone));
}

#[test]
fn a_stop_in_the_pause_after_an_unconfirmed_recovery_asks_once_more() {
    for (found, step) in
        [(DAEMON, KeeperStep::Terminate), (recovery::RecoveryVerdict::Unconfirmed, KeeperStep::LeaveAlone)]
    {
        let mut story = KeeperStory::begins(false);
        story.begins_with(RECOVER);
        story.finds(recovery::RecoveryVerdict::Unconfirmed);
        story.keeper.stop();
        story.begins_with(RECOVER);
        story.begins_with(None);
        story.finds(found);
        story.begins_with(Some(step));
    }
}
