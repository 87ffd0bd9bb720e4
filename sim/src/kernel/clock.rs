//! A process's monotonic clock: its own origin, its own rate, and jumps.
use handoff::time::Time;

use super::Micros;
use crate::plan::span::Span;

/// The clock by which a process reads the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessClock {
    /// From here on...
    since: Micros,
    /// ... it says this ...
    says: Micros,
    /// ... and gains so many millionths.
    gains_ppm: i64,
    stepped: bool,
}

impl ProcessClock {
    /// Makes a clock that says `offset` now.
    pub(crate) fn new(now: Micros, offset: Micros, gains_ppm: i64) -> ProcessClock {
        ProcessClock { since: now, says: offset, gains_ppm, stepped: false }
    }

    /// Returns what it says at `now`.
    pub(crate) fn at(&self, now: Micros) -> Time {
        Time::from_origin(Span::from_micros(self.micros(now)).duration())
    }

    fn micros(&self, now: Micros) -> Micros {
        let passed = now.saturating_sub(self.since);
        let gained = (passed as i64).saturating_mul(self.gains_ppm) / 1_000_000;
        self.says + passed.saturating_add_signed(gained)
    }

    /// Returns the time at which the clock says `time`, or has said it.
    pub(crate) fn when(&self, time: Time) -> Micros {
        let wanted = u64::try_from(time.since(Time::ZERO).as_micros()).unwrap_or(u64::MAX);
        let left = wanted.saturating_sub(self.says);
        let rate = (1_000_000 + self.gains_ppm).max(1) as u128;
        let passed = (u128::from(left) * 1_000_000).div_ceil(rate);
        let mut when = self.since.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        // Rounding must not wake a process early.
        while self.micros(when) < wanted && when < u64::MAX {
            when += 1;
        }
        when
    }

    /// Returns whether it has jumped before: a process that goes by it takes for silence what is none.
    pub(crate) fn was_stepped(&self) -> bool {
        self.stepped
    }

    /// Lets it jump.
    pub(crate) fn step(&mut self, now: Micros, by: Micros) {
        *self = ProcessClock { since: now, says: self.micros(now) + by, stepped: true, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_says_a_time_when_it_says_that_it_does() {
        for gains in [-500, 0, 37, 500] {
            let mut clock = ProcessClock::new(1_000, 77, gains);
            clock.step(2_000, 5_000_000);
            for later in [0, 1, 999, 123_456_789] {
                let time = clock.at(2_000 + later);
                let when = clock.when(time);
                assert!(clock.at(when) >= time && when <= 2_000 + later + 1, "{gains} {later} {when}");
            }
        }
    }
}
