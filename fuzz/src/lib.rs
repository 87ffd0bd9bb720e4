//! Hostile bytes: inputs that a parser almost understands. Random bytes alone don't get past the first check of any
//! parser, so most inputs are good ones with edits. The parsers' properties are in `tests/parsers`; a random run is
//! part of the tests, and `cargo bolero` runs the same targets under a fuzzer that watches their coverage.
//!
//! The good inputs of a target are the files in `seeds/TARGET`. An input that has broken something is added there.
#![deny(unsafe_code)]
use std::path::Path;

use bolero::TypeGenerator;

/// The good inputs of one target.
#[derive(Clone, Debug)]
pub struct Seeds(Vec<Vec<u8>>);

impl Seeds {
    /// Reads the seeds of `target`.
    ///
    /// # Panics
    /// There are none.
    pub fn of(target: &str) -> Seeds {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let seeds: Vec<_> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
        assert!(!seeds.is_empty(), "no seeds in {}", dir.display());
        Seeds(seeds)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// The way to make a hostile input.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Hostile {
    base: InputBase,
    edits: Vec<ByteEdit>,
    /// The positions at which the input is split on its way to the parser.
    pub splits: Vec<u16>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum InputBase {
    Seed(u8),
    TwoSeeds(u8, u8),
    Raw(Vec<u8>),
}

/// One change. Positions are taken modulo the input's length.
#[derive(Clone, Debug, TypeGenerator)]
enum ByteEdit {
    Put {
        at: u16,
        byte: u8,
    },
    Insert {
        at: u16,
        bytes: Vec<u8>,
    },
    Remove {
        at: u16,
        length: u8,
    },
    Repeat {
        at: u16,
        length: u8,
        times: u8,
    },
    End {
        at: u16,
    },
    /// Another number in place of the next one that is written in digits; small ones are as likely as large ones.
    Decimal {
        at: u16,
        number: u64,
        shift: u8,
    },
    /// A number as wide as most lengths are, and hardly any of its bits set, or hardly any not.
    Number {
        at: u16,
        bit: u8,
        inverted: bool,
    },
}

impl Hostile {
    /// A seed, or two, or none, with the edits.
    pub fn from(&self, seeds: &Seeds) -> Vec<u8> {
        let seed = |index: u8| seeds.0[usize::from(index) % seeds.0.len()].as_slice();
        self.edit(match &self.base {
            InputBase::Seed(index) => seed(*index).to_vec(),
            InputBase::TwoSeeds(first, second) => [seed(*first), seed(*second)].concat(),
            InputBase::Raw(bytes) => bytes.clone(),
        })
    }

    /// `bytes` with the edits.
    pub fn edit(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        // Most of an input should stay good: a few edits, and in every fourth input none.
        let count = self.edits.len() % 4;
        self.edits.iter().take(count).for_each(|edit| edit.apply(&mut bytes));
        bytes
    }
}

impl ByteEdit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match self {
            ByteEdit::Put { at, byte } => {
                let at = place(*at);
                bytes.get_mut(at).into_iter().for_each(|old| *old = *byte);
            }
            ByteEdit::Decimal { at, number, shift } => {
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(start) = bytes.iter().skip(place(*at)).position(is_digit) else { return };
                let start = place(*at) + start;
                let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
                bytes.splice(start..start + length, (number >> (shift % 64)).to_string().into_bytes());
            }
            ByteEdit::Insert { at, bytes: new } => {
                let at = place(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            ByteEdit::Remove { at, length } => {
                let at = place(*at);
                bytes.drain(at..(at + usize::from(*length)).min(bytes.len()));
            }
            ByteEdit::Repeat { at, length, times } => {
                let at = place(*at);
                let part =
                    bytes[at..(at + usize::from(*length)).min(bytes.len())].repeat(usize::from(*times));
                bytes.splice(at..at, part);
            }
            ByteEdit::End { at } => bytes.truncate(place(*at)),
            ByteEdit::Number { at, bit, inverted } => {
                let at = place(*at);
                let number = 1_u64 << (bit % 64);
                let number = if *inverted { !number } else { number };
                bytes[at..].iter_mut().zip(number.to_le_bytes()).for_each(|(old, new)| *old = new);
            }
        }
    }
}

/// `bytes` in pieces, in order.
pub fn pieces<'a>(bytes: &'a [u8], splits: &[u16]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = splits.iter().map(|split| usize::from(*split) % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}
