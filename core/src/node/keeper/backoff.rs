//! The time at which a daemon that ended by itself is started again.
use crate::time::Duration;

/// The pauses between restarts: none before the first, then doubling from `min` to `max`. A daemon that lived
/// for longer than `max` has proved itself, and the next one starts over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max, next: Duration::ZERO }
    }

    /// Returns whether a daemon that served for `lived` has not proved itself.
    pub(super) fn is_young(&self, lived: Duration) -> bool {
        lived <= self.max
    }

    /// The pause before the next start, after a daemon that served for `lived`; zero if it never did.
    pub(super) fn pause(&mut self, lived: Duration) -> Duration {
        if !self.is_young(lived) {
            self.next = Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).clamp(self.min, self.max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn pauses_of(backoff: &mut Backoff, lived: Duration, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.pause(lived).as_secs()).collect()
    }

    #[test]
    fn the_first_restart_is_at_once_and_then_pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(SEC, 10 * SEC);
        assert_eq!(pauses_of(&mut backoff, SEC, 7), [0, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_daemon_that_lived_for_longer_than_the_longest_pause_starts_over() {
        let mut backoff = Backoff::new(SEC, 10 * SEC);
        pauses_of(&mut backoff, SEC, 5);
        assert_eq!(pauses_of(&mut backoff, 10 * SEC, 1), [10], "as long as the pause is not enough");
        assert_eq!(pauses_of(&mut backoff, 11 * SEC, 1), [0]);
        assert_eq!(pauses_of(&mut backoff, SEC, 2), [1, 2]);
    }

    #[test]
    fn no_pause_at_all_can_be_configured() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(pauses_of(&mut backoff, Duration::ZERO, 3), [0, 0, 0]);
    }
}
