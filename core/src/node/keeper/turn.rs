//! The turn to be started: that of what was swapped to last or, if that keeps failing, of what was committed
//! before.

/// Counts failures in a row, and changes sides when there are too many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct FallBackTurn {
    failures: u32,
    /// `true` if it is the older binary's turn.
    older: bool,
    /// `true` if the older binary is what was committed last: it was started when it had its turn.
    older_is_last: bool,
}

impl FallBackTurn {
    /// Returns whether it is the turn of the older binary.
    pub(super) fn is_older(&self) -> bool {
        self.older
    }

    /// Returns whether the one whose turn it is was committed before the last one.
    pub(super) fn is_before_last(&self) -> bool {
        self.older != self.older_is_last
    }

    /// A start came to nothing, or its daemon died young.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// A daemon has lived for long.
    pub(super) fn proved(&mut self) {
        self.failures = 0;
    }

    /// Gives the turn to the other binary after `limit` failures in a row, never if 0. Whether it did.
    pub(super) fn changes_after(&mut self, limit: u32) -> bool {
        let changes = limit > 0 && self.failures >= limit;
        if changes {
            self.older = !self.older;
            self.failures = 0;
        }
        changes
    }

    /// A binary was committed: one that was `asked` for, with which all begins anew, or the one whose turn it was.
    pub(super) fn committed(&mut self, asked: bool) {
        if asked {
            *self = FallBackTurn::default();
        }
        self.older_is_last = self.older;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(turn: &mut FallBackTurn, times: u32) -> bool {
        (0..times).for_each(|_| turn.failed());
        turn.changes_after(3)
    }

    #[test]
    fn the_older_binary_has_its_turn_after_enough_failures_and_then_they_alternate() {
        let mut turn = FallBackTurn::default();
        assert!(!fail(&mut turn, 2));
        assert!(!turn.is_before_last());
        assert!(fail(&mut turn, 1));
        assert!(turn.is_older() && turn.is_before_last());
        turn.committed(false);
        assert!(turn.is_older() && !turn.is_before_last(), "it is what was committed last now");
        assert!(fail(&mut turn, 3));
        assert!(!turn.is_older() && turn.is_before_last(), "and the newer one was before it");
    }

    #[test]
    fn an_older_binary_that_never_comes_to_serve_gives_its_turn_back() {
        let mut turn = FallBackTurn::default();
        fail(&mut turn, 3);
        fail(&mut turn, 3);
        assert!(!turn.is_older() && !turn.is_before_last());
    }

    #[test]
    fn a_daemon_that_has_proved_itself_and_a_swap_begin_anew() {
        let mut turn = FallBackTurn::default();
        fail(&mut turn, 2);
        turn.proved();
        assert!(!fail(&mut turn, 2));
        fail(&mut turn, 1);
        turn.committed(false);
        turn.committed(true);
        assert!(!turn.is_older() && !turn.is_before_last());
        assert!(!fail(&mut turn, 2));
    }

    #[test]
    fn nothing_falls_back_unless_it_is_told_to() {
        let mut turn = FallBackTurn::default();
        (0..100).for_each(|_| turn.failed());
        assert!(!turn.changes_after(0));
    }
}
