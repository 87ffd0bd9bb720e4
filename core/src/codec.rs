//! The one binary encoding: of frames, of the record and of the journal.
//!
//! bincode with fixed-width little-endian integers, so that a value has one encoding only. What bincode would
//! let pass, bytes after the value, is an error here.
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes that a value may take.
pub const LIMIT: usize = 1 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<LIMIT>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<LIMIT>();

/// A value that can't be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Would not be decoded again.
    #[error("{length} bytes, at most {LIMIT} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The type has no encoding.
    #[error("{0}")]
    Unsupported(String),
}

/// Bytes that are no value of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More than [`LIMIT`].
    #[error("{length} bytes, at most {LIMIT} are allowed")]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
    /// The value ends before the bytes do.
    #[error("{count} bytes too many")]
    Trailing {
        /// The number of bytes that are left.
        count: usize,
    },
    /// The bytes end before the value does, or mean nothing.
    #[error("{0}")]
    Malformed(String),
}

/// Encodes `value`.
///
/// # Errors
/// It is longer than [`LIMIT`], or its type has no encoding.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let bytes = bincode::serde::encode_to_vec(value, CONFIG)
        .map_err(|error| EncodeError::Unsupported(error.to_string()))?;
    if bytes.len() > LIMIT {
        return Err(EncodeError::TooLong { length: bytes.len() });
    }
    Ok(bytes)
}

/// Decodes what [`encode`] made. Nothing is allocated beyond the length of `bytes` and a small factor.
///
/// # Errors
/// The bytes are not exactly one value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > LIMIT {
        return Err(DecodeError::TooLong { length: bytes.len() });
    }
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        count => Err(DecodeError::Trailing { count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn integers_are_little_endian_and_of_fixed_width() {
        assert_eq!(encode(&(1_u64, 0x0203_u16, Some(true))).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 1, 1]);
        assert_eq!(encode(&vec![7_u8]).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn only_exactly_one_value_is_decoded() {
        assert_eq!(decode::<u16>(&[1, 2]), Ok(0x0201));
        assert_eq!(decode::<u16>(&[1, 2, 3]), Err(DecodeError::Trailing { count: 1 }));
        assert!(matches!(decode::<u16>(&[1]), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<bool>(&[2]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_allocated() {
        assert!(matches!(decode::<Vec<u64>>(&[0xff; 8]), Err(DecodeError::Malformed(_))));
        let long = vec![0; LIMIT + 1];
        assert_eq!(decode::<Vec<u8>>(&long), Err(DecodeError::TooLong { length: LIMIT + 1 }));
        assert!(matches!(encode(&vec![0_u8; LIMIT]), Err(EncodeError::TooLong { .. })));
    }
}
