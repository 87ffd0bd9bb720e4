//! A file on the simulated disk: what was written to it, and how to take that back.

/// The content of a file, and what of it is not durable.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    bytes: Vec<u8>,
    /// The position at which the last write to it begins.
    last: usize,
    unsynced: Vec<Undo>,
    /// Of writes whose fsync failed.
    lost: Vec<Undo>,
}

/// The way to take a write back.
#[derive(Clone, Debug)]
struct Undo {
    offset: usize,
    /// The bytes that were there before; shorter than what was written if the file grew.
    before: Vec<u8>,
    length: usize,
}

/// The content that a process is shown, though it is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Files as they were before the last write to each.
    Stale,
    /// Files with another last write in each.
    Altered,
    /// Another directory, which is empty.
    Another,
}

impl Undo {
    /// Forgets what lies before `end`, which is not to be taken back any more.
    fn forget(&mut self, end: usize) {
        let cut = (end - self.offset).min(self.length);
        self.before.drain(..cut.min(self.before.len()));
        self.offset += cut;
        self.length -= cut;
    }
}

impl File {
    /// Returns what is read; `lie` is what is not so of it.
    pub(super) fn shown(&self, lie: Option<Lie>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        match lie {
            None | Some(Lie::Another) => {}
            Some(Lie::Stale) => bytes.truncate(self.last),
            Some(Lie::Altered) => bytes.iter_mut().skip(self.last).take(1).for_each(|byte| *byte ^= 1),
        }
        bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Writes at an offset, or at the end.
    pub(super) fn put(&mut self, offset: Option<usize>, bytes: &[u8]) {
        let offset = offset.unwrap_or(self.bytes.len());
        let end = offset + bytes.len();
        let before = self.bytes.get(offset..end.min(self.bytes.len())).unwrap_or_default().to_vec();
        // Written anew, it can be made durable after all.
        let anew = self.lost.iter_mut().filter(|lost| (offset..end).contains(&lost.offset));
        anew.for_each(|lost| lost.forget(end));
        self.lost.retain(|lost| lost.length > 0);
        self.unsynced.push(Undo { offset, before, length: bytes.len() });
        self.last = offset;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn truncate(&mut self, length: usize) {
        if length < self.bytes.len() {
            let before = self.bytes.split_off(length);
            self.unsynced.push(Undo { offset: length, before, length: 0 });
        }
    }

    /// All is durable; or never will be, where that `fails`.
    pub(super) fn sync(&mut self, fails: bool) {
        let synced = std::mem::take(&mut self.unsynced);
        if fails {
            self.lost.extend(synced);
        }
    }

    /// Of the writes that were not synced some are there, the next one perhaps in part, and of the rest perhaps the length.
    pub(super) fn power_fails(&mut self, kept: &mut impl FnMut(usize) -> usize) {
        let length = self.bytes.len();
        let writes = self.unsynced.len();
        let mut undone = self.unsynced.split_off(kept(writes).min(writes));
        // Mostly all of it or nothing.
        if let Some(torn) = undone.first_mut().filter(|_| kept(2) == 2) {
            torn.forget(torn.offset + kept(torn.length).min(torn.length));
        }
        undone.into_iter().rev().for_each(|undo| self.undo(undo));
        self.unsynced.clear();
        for undo in std::mem::take(&mut self.lost).into_iter().rev() {
            self.undo(undo);
        }
        // As ext4 does, which may note the length of a file before its bytes are on the device.
        if self.bytes.len() < length && kept(1) == 1 {
            self.bytes.resize(length, 0);
        }
    }

    /// Takes a write back. What came behind it stays where it is; zeros are left in between.
    fn undo(&mut self, Undo { offset, before, length }: Undo) {
        let end = offset + before.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(&before);
        let grown = offset + length;
        if grown >= self.bytes.len() {
            self.bytes.truncate(end.max(offset));
        } else if end < grown {
            self.bytes[end..grown].fill(0);
        }
    }
}
