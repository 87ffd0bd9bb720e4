//! The books of one connection: what each of its keys must hold, and what is wrong with what the server says.
//!
//! It sets a ring of keys in turn, each time to the next sequence number, and increments one counter.

/// The thing that must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// An acknowledged write is not there.
    Lost,
    /// A key holds something that is neither the last acknowledged write nor older than it.
    Reordered,
    /// A number was handed out that had been handed out before.
    Duplicated,
    /// The number of numbers that were handed out to no client: a request was executed although its
    /// connection said not.
    Skipped(u64),
}

#[derive(Debug)]
pub(super) struct LoadLedger {
    /// The last acknowledged sequence number of each key.
    acknowledged: Vec<Option<u64>>,
    next: u64,
    counter: Option<i64>,
    value_bytes: usize,
}

impl LoadLedger {
    pub(super) fn new(keys: usize, value_bytes: usize) -> LoadLedger {
        LoadLedger { acknowledged: vec![None; keys.max(1)], next: 1, counter: None, value_bytes }
    }

    /// Returns how many keys there are, the counter aside.
    pub(super) fn keys(&self) -> usize {
        self.acknowledged.len()
    }

    /// The next write: which key, and what value.
    pub(super) fn next_write(&self) -> (usize, Vec<u8>) {
        let mut value = format!("{}:", self.next).into_bytes();
        value.resize(value.len().max(self.value_bytes), b'.');
        (self.key(), value)
    }

    /// The write that [`LoadLedger::next_write`] gave was acknowledged. Returns its key.
    pub(super) fn written(&mut self) -> usize {
        let key = self.key();
        self.acknowledged[key] = Some(self.next);
        self.next += 1;
        key
    }

    /// `key` was read.
    pub(super) fn read(&self, key: usize, value: Option<&[u8]>) -> Option<Wrong> {
        let acknowledged = self.acknowledged[key]?;
        match value.and_then(sequence) {
            Some(found) if found == acknowledged => None,
            Some(found) if found > acknowledged => Some(Wrong::Reordered),
            None if value.is_some() => Some(Wrong::Reordered),
            Some(_) | None => Some(Wrong::Lost),
        }
    }

    /// The counter was incremented, to `value`.
    pub(super) fn incremented(&mut self, value: i64) -> Option<Wrong> {
        let before = self.counter.replace(value)?;
        match value - before {
            1 => None,
            gap if gap > 1 => Some(Wrong::Skipped(gap.unsigned_abs() - 1)),
            _ => Some(Wrong::Duplicated),
        }
    }

    /// The counter was read.
    pub(super) fn counted(&self, value: i64) -> Option<Wrong> {
        let acknowledged = self.counter?;
        match value - acknowledged {
            0 => None,
            gap if gap > 0 => Some(Wrong::Skipped(gap.unsigned_abs())),
            _ => Some(Wrong::Lost),
        }
    }

    fn key(&self) -> usize {
        (self.next % self.acknowledged.len() as u64) as usize
    }
}

fn sequence(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(times: usize) -> LoadLedger {
        let mut ledger = LoadLedger::new(2, 8);
        for _ in 0..times {
            ledger.written();
        }
        ledger
    }

    #[test]
    fn a_key_holds_its_last_acknowledged_write_and_nothing_else() {
        let ledger = written(4);
        assert_eq!(ledger.next_write(), (1, b"5:......".to_vec()));
        assert_eq!(ledger.read(0, Some(b"4:......")), None);
        assert_eq!(ledger.read(0, Some(b"2:......")), Some(Wrong::Lost));
        assert_eq!(ledger.read(0, None), Some(Wrong::Lost));
        assert_eq!(ledger.read(0, Some(b"6:......")), Some(Wrong::Reordered));
        assert_eq!(ledger.read(0, Some(b"garbage")), Some(Wrong::Reordered));
    }

    #[test]
    fn a_key_that_was_never_written_may_hold_anything() {
        assert_eq!(written(0).read(0, Some(b"9:")), None);
    }

    #[test]
    fn each_number_is_handed_out_once() {
        let mut ledger = written(0);
        assert_eq!(ledger.incremented(7), None);
        assert_eq!(ledger.incremented(8), None);
        assert_eq!(ledger.incremented(8), Some(Wrong::Duplicated));
        assert_eq!(ledger.incremented(11), Some(Wrong::Skipped(2)));
        assert_eq!(ledger.incremented(5), Some(Wrong::Duplicated));
        assert_eq!(ledger.counted(5), None);
        assert_eq!(ledger.counted(4), Some(Wrong::Lost));
        assert_eq!(ledger.counted(6), Some(Wrong::Skipped(1)));
    }
}
