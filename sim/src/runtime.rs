//! The one file that knows madsim. It supplies the runtime and its virtual time: a run goes on when its timer fires, and at no
//! other moment. Processes, disk and sockets are ours (`kernel`): madsim's have no `flock`, no Unix sockets and no power
//! failure, and its `kill` runs destructors. That the flag is set which makes it a simulator, the build script sees to.
use madsim::Config;
use madsim::runtime::Runtime;
use madsim::time::{Duration, Instant, sleep_until};

use crate::kernel::Micros;

/// The timeline, on which one thing happens after the other.
pub(crate) trait Timeline {
    /// Returns the time at which the next thing happens; never, if it is over.
    fn next(&self) -> Option<Micros>;

    /// Lets all happen that is due at `now`.
    fn advance(&mut self, now: Micros);
}

/// Runs `timeline` to its end.
///
/// madsim's timers are no finer than a millisecond, and each turn of its executor takes a random part of a microsecond. So
/// one of our microseconds is one of its milliseconds: nothing that it draws at random can be seen in a run.
pub(crate) fn run(timeline: &mut impl Timeline) {
    let runtime = Runtime::with_seed_and_config(0, Config::default());
    runtime.block_on(async {
        let origin = Instant::now();
        while let Some(next) = timeline.next() {
            sleep_until(origin + Duration::from_millis(next)).await;
            timeline.advance(next);
        }
    });
}
