//! Whose turn it is to be started: what was swapped to last or, if that keeps failing, what was committed before.

/// Counts failures in a row, and changes sides when there are too many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    failures: u32,
    /// It is the older binary's turn.
    older: bool,
    /// The older binary is what was committed last: it was started when it had its turn.
    older_is_last: bool,
}

impl Turn {
    /// Whether it is the turn of the older binary.
    pub(crate) fn is_older(&self) -> bool {
        self.older
    }

    /// Whether the one whose turn it is was committed before the last one.
    pub(crate) fn is_before_last(&self) -> bool {
        self.older != self.older_is_last
    }

    /// A start came to nothing, or its daemon died young.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A daemon has lived for long.
    pub(crate) fn proved(&mut self) {
        self.failures = 0;
    }

    /// Gives the turn to the other binary after `limit` failures in a row, never if 0. How many it were.
    pub(crate) fn change_after(&mut self, limit: u32) -> Option<u32> {
        if limit == 0 || self.failures < limit {
            return None;
        }
        self.older = !self.older;
        Some(std::mem::take(&mut self.failures))
    }

    /// A binary was committed: one that was `asked` for, with which all begins anew, or the one whose turn it was.
    pub(crate) fn committed(&mut self, asked: bool) {
        if asked {
            *self = Turn::default();
        }
        self.older_is_last = self.older;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(turn: &mut Turn, times: u32) -> Option<u32> {
        (0..times).for_each(|_| turn.failed());
        turn.change_after(3)
    }

    #[test]
    fn the_older_binary_has_its_turn_after_enough_failures_and_then_they_alternate() {
        let mut turn = Turn::default();
        assert_eq!(fail(&mut turn, 2), None);
        assert!(!turn.is_before_last());
        assert_eq!(fail(&mut turn, 1), Some(3));
        assert!(turn.is_older() && turn.is_before_last());
        turn.committed(false);
        assert!(turn.is_older() && !turn.is_before_last(), "it is what was committed last now");
        assert_eq!(fail(&mut turn, 3), Some(3));
        assert!(!turn.is_older() && turn.is_before_last(), "and the newer one was before it");
    }

    #[test]
    fn an_older_binary_that_never_comes_to_serve_gives_its_turn_back() {
        let mut turn = Turn::default();
        fail(&mut turn, 3);
        fail(&mut turn, 3);
        assert!(!turn.is_older() && !turn.is_before_last());
    }

    #[test]
    fn a_daemon_that_has_proved_itself_and_a_swap_begin_anew() {
        let mut turn = Turn::default();
        fail(&mut turn, 2);
        turn.proved();
        assert_eq!(fail(&mut turn, 2), None);
        fail(&mut turn, 1);
        turn.committed(false);
        turn.committed(true);
        assert!(!turn.is_older() && !turn.is_before_last());
        assert_eq!(fail(&mut turn, 2), None);
    }

    #[test]
    fn nothing_falls_back_unless_it_is_told_to() {
        let mut turn = Turn::default();
        (0..100).for_each(|_| turn.failed());
        assert_eq!(turn.change_after(0), None);
    }
}
