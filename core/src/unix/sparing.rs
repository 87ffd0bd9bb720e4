//! Lines that a stranger can cause are logged at a bounded rate, and how many were left out is said.
use std::time::{Duration, Instant};

/// The time in which one line is logged, after the first few.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many lines at once.
const BURST: u32 = 5;

/// Decides which lines of one kind are logged: the first five, then one every ten seconds.
#[derive(Debug)]
pub struct Sparing {
    room: u32,
    since: Option<Instant>,
    left_out: u64,
}

impl Default for Sparing {
    fn default() -> Self {
        Sparing { room: BURST, since: None, left_out: 0 }
    }
}

impl Sparing {
    /// Returns whether a line is to be logged at `now`: then how many were left out before it.
    pub fn admits(&mut self, now: Instant) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        let intervals = now.saturating_duration_since(since).as_secs() / INTERVAL.as_secs();
        if intervals > 0 {
            self.room = self.room.saturating_add(u32::try_from(intervals).unwrap_or(u32::MAX)).min(BURST);
            self.since = Some(now);
        }
        if self.room == 0 {
            self.left_out += 1;
            return None;
        }
        self.room -= 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// Returns the time at which a line that was not admitted at `now` would be.
    fn room_at(&self, now: Instant) -> Instant {
        self.since.unwrap_or(now) + INTERVAL
    }
}

/// Lines about a name that is put back when it has gone, and about what is in the way of that. An obstacle that lasts is told in
/// the end, however often the name came and went before: nothing else would wake the process that has to tell it.
#[derive(Debug, Default)]
pub struct NameLines {
    put_back: Sparing,
    in_the_way: Sparing,
}

impl NameLines {
    /// Returns whether a line is to be logged at `now` about a name that was put back: then how many were
    /// left out before it.
    pub fn put_back(&mut self, now: Instant) -> Option<u64> {
        self.put_back.admits(now)
    }

    /// Returns how many lines were left out before the one about an obstacle that is to be logged at `now`.
    ///
    /// # Errors
    /// The line is left out; when to look for the obstacle again.
    pub fn in_the_way(&mut self, now: Instant) -> Result<u64, Instant> {
        self.in_the_way.admits(now).ok_or_else(|| self.in_the_way.room_at(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let begin = Instant::now();
        let mut sparing = Sparing::default();
        let mut at = |secs: u64| sparing.admits(begin + Duration::from_secs(secs));
        assert_eq!([0; 5].map(&mut at), [Some(0); 5]);
        for _ in 0..1000 {
            assert_eq!(at(9), None);
        }
        assert_eq!([at(10), at(10), at(19)], [Some(1000), None, None]);
        assert_eq!([at(20), at(20)], [Some(2), None]);
        assert_eq!(at(1000), Some(1), "rest fills it again");
        assert_eq!([1000; 5].map(&mut at), [Some(0), Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn an_obstacle_that_lasts_is_told_whatever_was_told_before() {
        let begin = Instant::now();
        let mut lines = NameLines::default();
        for _ in 0..100 {
            lines.put_back(begin);
        }
        assert_eq!(lines.in_the_way(begin), Ok(0));
        let left_out = (0..10).find_map(|_| lines.in_the_way(begin).err()).unwrap();
        assert!(lines.in_the_way(left_out).is_ok(), "the time to look again is a time with room");
    }
}
