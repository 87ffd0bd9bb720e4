//! A state's digest: two states with one digest are taken for one state.
use std::hash::{Hash, Hasher};

use twox_hash::XxHash3_128;

/// 128 bits: among a hundred million states two have the same with a probability below 10⁻²².
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Digest(u128);

/// A part of a digest is as good a hash as any.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Makes digests; keeps its memory from one to the next.
#[derive(Default)]
pub(super) struct Digests(Bytes);

/// All that is hashed, one after the other. A state consists of hundreds of small parts: to put them in a row and to hash
/// the row takes a fraction of the time of hashing each.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Required by the trait; a digest has 128 bits, and [`Digests::of`] makes it.
    fn finish(&self) -> u64 {
        XxHash3_128::oneshot(&self.0) as u64
    }
}

impl Digests {
    /// The digest of `state`.
    pub(super) fn of(&mut self, state: &impl Hash) -> Digest {
        let Digests(bytes) = self;
        bytes.0.clear();
        state.hash(bytes);
        Digest(XxHash3_128::oneshot(&bytes.0))
    }
}
