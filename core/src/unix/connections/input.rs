//! The bytes that have been received on a connection and are not consumed yet.

/// The number of bytes that an empty buffer has room for; doubled by each read that fills it.
const SMALL: usize = 4 * 1024;
/// The size that a buffer grows to of itself, in bytes: a pipeline within it is received at once. A longer request makes it larger.
const LARGE: usize = 64 * 1024;

/// A request that is longer than this, in bytes, can't be begun again.
const KEPT: usize = 4 << 20;

/// A buffer that keeps what a connection needs, and no more when that is over.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// The position at which the request began that is being read, if it is kept.
    mark: Option<usize>,
    start: usize,
    end: usize,
    /// `true` if the last read has filled all the room.
    filled: bool,
}

impl Input {
    /// Makes the input of what a process had received and not acted on.
    pub(super) fn restored(bytes: Vec<u8>) -> Input {
        Input { end: bytes.len(), bytes, ..Input::default() }
    }

    /// A request begins: what is consumed from here on is kept until the next one begins.
    pub(super) fn mark(&mut self) {
        self.mark = Some(self.start);
    }

    /// No request is under way: what was consumed is forgotten.
    pub(super) fn unmark(&mut self) {
        self.mark = None;
        self.forget();
    }

    /// All from the begin of the request, and from where the daemon is if none is kept.
    pub(super) fn since_mark(&self) -> &[u8] {
        &self.bytes[self.first()..self.end]
    }

    /// Returns whether the request that is being read can be begun again.
    pub(super) fn is_marked(&self) -> bool {
        self.mark.is_some()
    }

    fn first(&self) -> usize {
        self.mark.unwrap_or(self.start)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first `count` bytes, or all, if there are fewer.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        self.mark = self.mark.filter(|mark| self.start - mark <= KEPT);
        self.forget();
    }

    fn forget(&mut self) {
        if self.first() == self.end {
            (self.start, self.end) = (0, 0);
            self.mark = self.mark.map(|_| 0);
            if self.bytes.len() > LARGE {
                self.bytes = Vec::new();
            }
        }
    }

    /// Room for more, never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let first = self.first();
        self.bytes.copy_within(first..self.end, 0);
        (self.start, self.end) = (self.start - first, self.end - first);
        self.mark = self.mark.map(|_| 0);
        let len = self.bytes.len();
        if self.end == len || (self.filled && len < LARGE) {
            self.bytes.resize((len * 2).max(SMALL), 0);
        }
        self.filled = false;
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the room have been filled.
    pub(super) fn received(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
        self.filled = self.end == self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(input: &mut Input, bytes: &[u8]) -> usize {
        let room = input.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        input.received(count);
        count
    }

    #[test]
    fn what_is_not_consumed_stays_in_order() {
        let mut input = Input::default();
        receive(&mut input, b"one two ");
        input.consume(4);
        receive(&mut input, b"three");
        assert_eq!(input.bytes(), b"two three");
        input.consume(usize::MAX);
        assert!(input.is_empty());
    }

    #[test]
    fn the_buffer_grows_with_what_comes_and_a_large_one_is_not_kept() {
        let (mut input, all) = (Input::default(), vec![b'x'; 1 << 20]);
        let mut sizes = Vec::new();
        for _ in 0..7 {
            let count = receive(&mut input, &all);
            sizes.push(count / 1024);
            input.consume(count);
        }
        assert_eq!(sizes, [4, 8, 16, 32, 64, 64, 64], "KiB, where all is consumed at once");
        let mut received = 0;
        while received < all.len() {
            received += receive(&mut input, &all[received..]);
        }
        assert_eq!(input.bytes(), all);
        input.consume(received);
        assert_eq!(input.bytes.capacity(), 0);
    }
}
