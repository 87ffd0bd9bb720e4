//! The things that a successor needs of a connection besides its descriptor.
use alloc::vec::Vec;

/// The layout of [`ConnectionState::encode`]. A build reads this one and those before.
const VERSION: u8 = 1;

/// The bytes that a process had read from a connection and not acted on, those that it could not send yet,
/// and what the daemon knows of the client. A connection that has none of it needs no state at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionState {
    /// The bytes that were received, from the first byte of the request that is not answered.
    pub input: Vec<u8>,
    /// `true` if there is no whole request in `input`: nothing can be done before the client sends more.
    pub awaits_more: bool,
    /// The bytes that are to be sent before anything else.
    pub output: Vec<u8>,
    /// The daemon's own, in a layout of its own.
    pub session: Vec<u8>,
}

impl ConnectionState {
    /// The state as bytes: a version, whether more is awaited, then each part after its length (`u32`, little endian). Nothing, if there is nothing.
    pub fn encode(&self) -> Vec<u8> {
        let parts = [&self.input, &self.output, &self.session];
        if parts.iter().all(|part| part.is_empty()) {
            return Vec::new();
        }
        let mut bytes = Vec::from([VERSION, u8::from(self.awaits_more)]);
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Returns what [`ConnectionState::encode`] made; `None` if no build of this version or one before did.
    pub fn decode(bytes: &[u8]) -> Option<ConnectionState> {
        if bytes.is_empty() {
            return Some(ConnectionState::default());
        }
        let (&[VERSION, awaits_more @ (0 | 1)], mut rest) = bytes.split_first_chunk()? else { return None };
        let mut next = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(part.to_vec())
        };
        let state = ConnectionState {
            input: next()?,
            awaits_more: awaits_more == 1,
            output: next()?,
            session: next()?,
        };
        rest.is_empty().then_some(state)
    }

    /// Returns how many bytes it has.
    pub fn len(&self) -> usize {
        self.input.len() + self.output.len() + self.session.len()
    }

    /// Returns whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_state_are_pinned() {
        let state = ConnectionState {
            input: b"GE".to_vec(),
            awaits_more: true,
            output: Vec::new(),
            session: b"\x07".to_vec(),
        };
        let bytes = b"\x01\x01\x02\0\0\0GE\0\0\0\0\x01\0\0\0\x07";
        assert_eq!(state.encode(), bytes);
        assert_eq!(ConnectionState::decode(bytes), Some(state));
        assert_eq!(ConnectionState::default().encode(), b"");
        assert_eq!(ConnectionState::decode(b""), Some(ConnectionState::default()));
    }

    #[test]
    fn what_no_build_has_written_is_refused() {
        let good = ConnectionState { input: b"x".to_vec(), ..ConnectionState::default() }.encode();
        let longer = [&good[..], b"x"].concat();
        let newer = [&[2], &good[1..]].concat();
        for bad in [
            &good[..good.len() - 1],
            &longer,
            &newer,
            b"\x01\x00\xff\xff\xff\xff",
            b"\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(ConnectionState::decode(bad), None, "{bad:?}");
        }
    }
}
