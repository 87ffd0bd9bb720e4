//! The facts that the server knows of a RESP client, and the way in which they travel to the process that
//! serves the client next.
//!
//! The layout is the server's own: its version, then fields, each a tag, a length (`u32`, little endian) and bytes. A change of it
//! gets another version, and [`ClientState::decode`] goes on to read the versions before. A client of which nothing is known
//! has no bytes at all.
use std::collections::BTreeSet;

use crate::resp::RespVersion;
use crate::transaction::Transaction;

/// The version of what this build writes. There is none before it.
const LAYOUT: u8 = 1;

const PROTOCOL: u8 = 1;
const NAME: u8 = 2;
const ID: u8 = 3;
const CHANNEL: u8 = 4;
const TRANSACTION: u8 = 5;

/// A client on its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientState {
    /// The version in which the client is answered.
    pub(crate) version: RespVersion,
    /// The name that the client gives itself.
    pub(crate) name: Vec<u8>,
    /// The number of the client, if the client was told.
    pub(crate) id: Option<u64>,
    /// The channels that the client has subscribed to.
    pub(crate) channels: BTreeSet<Vec<u8>>,
    /// The requests that the client has queued since `MULTI`.
    pub(crate) transaction: Option<Transaction>,
}

impl ClientState {
    /// The state as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT];
        let mut field = |tag, parts: &[&[u8]]| {
            bytes.push(tag);
            let length = parts.iter().map(|part| part.len()).sum::<usize>();
            bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
        };
        if self.version == RespVersion::Three {
            field(PROTOCOL, &[&[3]]);
        }
        if !self.name.is_empty() {
            field(NAME, &[&self.name]);
        }
        if let Some(id) = self.id {
            field(ID, &[&id.to_le_bytes()]);
        }
        self.channels.iter().for_each(|channel| field(CHANNEL, &[channel]));
        if let Some(transaction) = &self.transaction {
            field(TRANSACTION, &[&[u8::from(transaction.is_broken())], transaction.requests()]);
        }
        if bytes.len() == 1 { Vec::new() } else { bytes }
    }

    /// Returns what [`ClientState::encode`] of this build or an earlier one made; `None` if none did.
    pub(crate) fn decode(bytes: &[u8]) -> Option<ClientState> {
        let mut state = ClientState::default();
        let Some((&layout, mut rest)) = bytes.split_first() else { return Some(state) };
        if layout != LAYOUT {
            return None;
        }
        while let Some((&tag, after)) = rest.split_first() {
            let (length, after) = after.split_first_chunk::<4>()?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            state.set(tag, value)?;
            rest = after;
        }
        Some(state)
    }

    fn set(&mut self, tag: u8, value: &[u8]) -> Option<()> {
        match (tag, value) {
            (PROTOCOL, [3]) => self.version = RespVersion::Three,
            (NAME, name) => self.name = name.to_vec(),
            (ID, id) => self.id = Some(u64::from_le_bytes(id.try_into().ok()?)),
            (CHANNEL, channel) => _ = self.channels.insert(channel.to_vec()),
            (TRANSACTION, [broken @ (0 | 1), requests @ ..]) => {
                self.transaction = Some(Transaction::restored(requests, *broken == 1)?);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(change: impl FnOnce(&mut ClientState)) -> ClientState {
        let mut state = ClientState::default();
        change(&mut state);
        state
    }

    /// Returns what builds have written, never changed: a new layout is added. Each must be understood for as
    /// long as a daemon of its build may be replaced by this one.
    fn corpus() -> Vec<(&'static [u8], ClientState)> {
        let queued = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nPING\r\n";
        vec![
            (b"", ClientState::default()),
            (b"\x01\x01\x01\0\0\0\x03", client(|state| state.version = RespVersion::Three)),
            (
                b"\x01\x02\x02\0\0\0me\x03\x08\0\0\0\x07\0\0\0\0\0\0\0",
                client(|state| (state.name, state.id) = (b"me".to_vec(), Some(7))),
            ),
            (
                b"\x01\x04\x01\0\0\0a\x04\x02\0\0\0bc",
                client(|state| state.channels = BTreeSet::from([b"a".to_vec(), b"bc".to_vec()])),
            ),
            (
                b"\x01\x05\x24\0\0\0\0*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nPING\r\n",
                client(|state| state.transaction = Transaction::restored(queued, false)),
            ),
            (b"\x01\x05\x01\0\0\0\x01", client(|state| state.transaction = Transaction::restored(b"", true))),
        ]
    }

    #[test]
    fn what_builds_have_written_is_understood() {
        for (bytes, state) in corpus() {
            assert_eq!(ClientState::decode(bytes).as_ref(), Some(&state), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_this_build_writes_is_in_the_corpus() {
        for (bytes, state) in
            corpus().into_iter().filter(|(bytes, _)| bytes.first().is_none_or(|layout| *layout == LAYOUT))
        {
            assert_eq!(state.encode().escape_ascii().to_string(), bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_no_build_has_written_is_refused() {
        for bytes in [
            &b"\x02\x01\x01\0\0\0\x03"[..],
            b"\x01\x01\x01\0\0\0",
            b"\x01\x01\x01\0\0\0\x02",
            b"\x01\x09\0\0\0\0",
            b"\x01\x03\x01\0\0\0\x07",
            b"\x01\x05\x03\0\0\0\0*2",
            b"\x01\x02\xff\xff\xff\xffme",
        ] {
            assert_eq!(ClientState::decode(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
