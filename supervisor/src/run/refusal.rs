//! The reasons why the loop does not do what it is asked for.
use handoff::node::keeper::Activity;

use crate::exit::{Code, CommandFailure};

/// Returns why the supervisor leaves without stopping a daemon.
pub(super) fn left_alone() -> CommandFailure {
    let message = "told to stop, but no daemon has said in time that it serves: those that are there are left to themselves";
    CommandFailure::new(Code::Unconfirmed, message)
}

/// Returns why there is no dry run.
pub(super) fn nothing_to_try_beside() -> CommandFailure {
    let why = "no daemon serves: a dry run is beside one that does; a swap starts the daemon";
    CommandFailure::new(Code::Unavailable, why)
}

/// Returns why nothing else can be begun now.
pub(super) fn busy(activity: Activity) -> CommandFailure {
    let (code, why) = match activity {
        Activity::Stopping => (Code::Unavailable, "the supervisor is about to stop"),
        Activity::Recovering => (Code::Busy, "a recovery is under way; try again when it is over"),
        Activity::Starting => (Code::Busy, "the daemon is being started; try again"),
        Activity::Swapping | Activity::Watching | Activity::BackingOff => {
            (Code::Busy, "another handoff is under way; try again when it is over")
        }
    };
    CommandFailure::new(code, why)
}
