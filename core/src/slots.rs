//! A value in a file of two slots: a write goes to the slot that doesn't hold the newest value, so that a
//! write that was torn leaves the value before it.
//!
//! A slot is a fixed number of bytes: the [`Magic`] (name, then version in two decimal digits), `u64`
//! sequence number, `u32` length of the payload, `u32` CRC-32 of all that and the payload, the payload (see
//! [`crate::codec`]), and whatever follows. Integers are little-endian. A slot of zeros has never been
//! written.
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError, EncodeError};

const HEADER: usize = 24;

/// The number of slots in a file.
pub const SLOTS: usize = 2;

/// The kind of a file, and the version of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magic {
    /// Tells this kind of file from all others.
    pub name: [u8; 6],
    /// The version of the format, at most 99.
    pub version: u8,
}

impl Magic {
    fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.name;
        [a, b, c, d, e, f, b'0' + self.version / 10 % 10, b'0' + self.version % 10]
    }

    /// The version in a slot of this kind; `None` in one of another kind.
    fn version_in(self, bytes: &[u8; 8]) -> Option<u8> {
        let digits = bytes.strip_prefix(&self.name)?;
        let [tens, units] = digits else { return None };
        (tens.is_ascii_digit() && units.is_ascii_digit()).then(|| (tens - b'0') * 10 + (units - b'0'))
    }
}

/// The contents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots<T> {
    /// The newest value, with its sequence number.
    pub newest: Option<(u64, T)>,
    /// The faults of the file.
    pub problems: Vec<SlotProblem>,
    /// The slot that the next value goes to.
    pub next: usize,
}

impl<T> Slots<T> {
    /// The sequence number of the next value.
    pub fn next_sequence(&self) -> u64 {
        self.newest.as_ref().map_or(1, |(sequence, _)| sequence.saturating_add(1))
    }
}

/// The fault of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProblem {
    /// The number of the slot.
    pub slot: usize,
    /// The fault.
    pub fault: SlotFault,
}

impl fmt::Display for SlotProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}: {}", self.slot, self.fault)
    }
}

/// The faults that a slot can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotFault {
    /// The file has no bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The file ends within the slot.
    #[error("the file ends within it")]
    Torn,
    /// Begins with something else: not a file of this kind.
    #[error("not a file of this kind")]
    Foreign,
    /// Was written by a later version of this program.
    #[error("written in format {found}, newer than {ours}, the newest that this version reads")]
    Newer {
        /// The format's version in the slot.
        found: u8,
        /// The version that is read.
        ours: u8,
    },
    /// Was written by an earlier version, whose format is no longer read.
    #[error("written in format {found}, which this version no longer reads")]
    Older {
        /// The format's version in the slot.
        found: u8,
    },
    /// The bytes are not those that were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// The bytes are those that were written, but they mean nothing.
    #[error("its content can't be understood: {0}")]
    Content(DecodeError),
}

/// A value that doesn't fit into a slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Its encoding is longer than a slot.
    #[error("{length} bytes, more than the {limit} of a slot")]
    Slot {
        /// The length of the encoding, in bytes.
        length: usize,
        /// The most that a slot takes, in bytes.
        limit: usize,
    },
    /// Has no encoding.
    #[error(transparent)]
    Encoding(#[from] EncodeError),
}

/// The bytes to be written at the beginning of a slot of `slot_size` bytes.
///
/// # Errors
/// The value doesn't fit.
pub fn encode_slot<T: Serialize>(
    magic: Magic,
    sequence: u64,
    value: &T,
    slot_size: usize,
) -> Result<Vec<u8>, TooLarge> {
    let payload = codec::encode(value)?;
    let (length, limit) = (payload.len(), slot_size.saturating_sub(HEADER));
    if length > limit {
        return Err(TooLarge::Slot { length, limit });
    }
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&magic.to_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes, &payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Reads a whole file of two slots of `slot_size` bytes.
pub fn decode_slots<T: DeserializeOwned>(file: &[u8], magic: Magic, slot_size: usize) -> Slots<T> {
    let mut slots = Slots { newest: None, problems: Vec::new(), next: 0 };
    if file.is_empty() {
        slots.problems.push(SlotProblem { slot: 0, fault: SlotFault::Empty });
        return slots;
    }
    for slot in 0..SLOTS {
        let start = (slot * slot_size).min(file.len());
        let end = (start + slot_size).min(file.len());
        match decode_slot(&file[start..end], magic, slot_size) {
            Ok(Some((sequence, value))) => {
                if slots.newest.as_ref().is_none_or(|(newest, _)| sequence > *newest) {
                    slots.newest = Some((sequence, value));
                    slots.next = (slot + 1) % SLOTS;
                }
            }
            Ok(None) => {}
            Err(fault) => slots.problems.push(SlotProblem { slot, fault }),
        }
    }
    slots
}

/// The slot's sequence number and value; `None` if it has never been written.
fn decode_slot<T: DeserializeOwned>(
    slot: &[u8],
    magic: Magic,
    size: usize,
) -> Result<Option<(u64, T)>, SlotFault> {
    let cut = slot.len() < size;
    if slot.iter().all(|byte| *byte == 0) {
        return if cut { Err(SlotFault::Torn) } else { Ok(None) };
    }
    let Some((header, rest)) = slot.split_first_chunk::<HEADER>() else { return Err(SlotFault::Torn) };
    let (kind, sequence, length, expected) = split_header(header);
    match magic.version_in(&kind) {
        None => return Err(SlotFault::Foreign),
        Some(found) if found > magic.version => return Err(SlotFault::Newer { found, ours: magic.version }),
        Some(found) if found < magic.version => return Err(SlotFault::Older { found }),
        Some(_) => {}
    }
    let payload =
        rest.get(..length as usize).ok_or(if cut { SlotFault::Torn } else { SlotFault::Checksum })?;
    if checksum(&header[..HEADER - 4], payload) != expected {
        return Err(SlotFault::Checksum);
    }
    codec::decode(payload).map(|value| Some((sequence, value))).map_err(SlotFault::Content)
}

/// Kind, sequence number, length, checksum.
fn split_header(header: &[u8; HEADER]) -> ([u8; 8], u64, u32, u32) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *header;
    let [s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3, c0, c1, c2, c3] = rest;
    (
        [a, b, c, d, e, f, g, h],
        u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        u32::from_le_bytes([l0, l1, l2, l3]),
        u32::from_le_bytes([c0, c1, c2, c3]),
    )
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Returns all problems in one line.
pub fn describe(problems: &[SlotProblem]) -> alloc::string::String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    const MAGIC: Magic = Magic { name: *b"TSTFIL", version: 3 };
    const SIZE: usize = 64;

    fn file(slots: [Option<(u64, &str)>; 2]) -> Vec<u8> {
        let mut file = vec![0; SIZE * 2];
        for (at, (sequence, text)) in slots.into_iter().enumerate().filter_map(|(at, slot)| Some((at, slot?)))
        {
            let bytes = encode_slot(MAGIC, sequence, &text, SIZE).unwrap();
            file[at * SIZE..][..bytes.len()].copy_from_slice(&bytes);
        }
        file
    }

    fn read(file: &[u8]) -> Slots<String> {
        decode_slots(file, MAGIC, SIZE)
    }

    fn faults(file: &[u8]) -> Vec<SlotFault> {
        read(file).problems.into_iter().map(|problem| problem.fault).collect()
    }

    #[test]
    fn the_bytes_of_a_slot() {
        let golden = [
            b'T', b'S', b'T', b'F', b'I', b'L', b'0', b'3', // magic
            5, 0, 0, 0, 0, 0, 0, 0, // sequence
            10, 0, 0, 0, // length
            0x70, 0x6d, 0x6d, 0x48, // checksum: CRC-32 (ISO-HDLC)
            2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i', // payload
        ];
        assert_eq!(encode_slot(MAGIC, 5, &"hi", SIZE).unwrap(), golden);
    }

    #[test]
    fn the_newest_valid_slot_wins_and_the_other_is_written_next() {
        for (slots, newest, next) in [
            ([None, None], None, 0),
            ([Some((1, "a")), None], Some((1, "a")), 1),
            ([Some((1, "a")), Some((2, "b"))], Some((2, "b")), 0),
            ([Some((3, "c")), Some((2, "b"))], Some((3, "c")), 1),
        ] {
            let read = read(&file(slots));
            assert_eq!(read.newest, newest.map(|(sequence, text)| (sequence, text.into())));
            assert_eq!((read.next, read.problems), (next, vec![]));
        }
    }

    #[test]
    fn each_fault_is_told_apart() {
        let good = file([Some((1, "a")), None]);
        let with = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            faults(&file)
        };
        assert_eq!(faults(&[]), [SlotFault::Empty]);
        assert_eq!(faults(&good[..20]), [SlotFault::Torn, SlotFault::Torn]);
        assert_eq!(with(0, b'X'), [SlotFault::Foreign]);
        assert_eq!(with(7, b'x'), [SlotFault::Foreign]);
        assert_eq!(with(6, b'1'), [SlotFault::Newer { found: 13, ours: 3 }]);
        assert_eq!(with(7, b'2'), [SlotFault::Older { found: 2 }]);
        assert_eq!(with(8, 9), [SlotFault::Checksum]);
        assert_eq!(with(19, 9), [SlotFault::Checksum], "a length beyond the slot");
        let number = encode_slot(MAGIC, 1, &7_u16, SIZE).unwrap();
        assert!(matches!(faults(&[number, vec![0; 200]].concat())[..], [SlotFault::Content(_)]));
    }

    #[test]
    fn a_damaged_slot_leaves_the_other_one_and_is_written_next() {
        let mut file = file([Some((1, "old")), Some((2, "new"))]);
        file[SIZE + 30] ^= 1;
        let read = read(&file);
        assert_eq!((read.newest, read.next), (Some((1, "old".into())), 1));
        assert_eq!(read.problems, [SlotProblem { slot: 1, fault: SlotFault::Checksum }]);
    }

    #[test]
    fn every_length_and_every_flipped_bit_yields_what_was_written_or_a_problem() {
        let whole = file([Some((1, "old")), Some((2, "new"))]);
        let plausible = |read: &Slots<String>| match &read.newest {
            Some((1, text)) => text == "old" && !read.problems.is_empty(),
            Some((2, text)) => text == "new",
            Some(_) => false,
            None => !read.problems.is_empty(),
        };
        for length in 0..whole.len() {
            assert!(plausible(&read(&whole[..length])), "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(plausible(&read(&file)), "bit {bit}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let limit = SIZE - HEADER;
        let length = limit + 1;
        // A text takes eight bytes for its length.
        assert!(encode_slot(MAGIC, 1, &"x".repeat(limit - 8), SIZE).is_ok());
        assert_eq!(
            encode_slot(MAGIC, 1, &"x".repeat(limit - 7), SIZE),
            Err(TooLarge::Slot { length, limit })
        );
    }
}
