//! Connections on their way from an incumbent to its successor, while both live.
//!
//! The incumbent *offers* its connections: it sends their descriptors while it still serves, and what changes meanwhile. When it
//! has drained, it reads nothing more, sends the state of each connection that has one, and ends with the number and the digest of
//! all. The successor confirms these, or the seal fails and the handoff is rolled back. The successor touches a connection only
//! when it serves. An incumbent that goes on reading *revokes* first, under the lock: so what a successor that holds the lock has
//! been sent and not revoked is true.
//!
//! This file decides what is sent and what counts. Its hosts move bytes and descriptors.
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, EncodeError};

mod state;

pub use state::ConnectionState;

/// The largest number of connections that one item offers: each of its descriptors travels beside it.
pub const BATCH: usize = 200;
/// The largest number of items that are under way without an answer: descriptors that were not received yet count against a
/// limit of the sender's user (`ETOOMANYREFS`, `unix(7)`).
pub const WINDOW: u64 = 2;
/// The largest number of connections that are carried.
pub const CONNECTIONS: usize = 1 << 20;
/// The longest state of one connection, in bytes: its unread input, its unsent output, its session.
pub const STATE: usize = 16 << 20;
/// The largest total of states that a successor takes, in bytes.
pub const STATES: usize = 1 << 30;
/// The longest part of a state that travels in one item, in bytes.
const PART: usize = 256 * 1024;
/// The longest item, in bytes.
pub const ITEM: usize = PART + 4096;

/// A connection, as the incumbent that offers it numbers it.
pub type Token = u64;

/// What is carried in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Carried {
    /// The number of connections.
    pub count: u64,
    /// The sum of the digests of each connection and its state: it does not depend on their order.
    pub digest: u64,
}

impl Carried {
    fn of<'a>(connections: impl Iterator<Item = (Token, &'a [u8])>) -> Carried {
        connections.fold(Carried::default(), |Carried { count, digest }, (token, state)| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&token.to_le_bytes());
            hasher.update(state);
            Carried { count: count + 1, digest: digest.wrapping_add(u64::from(hasher.finalize())) }
        })
    }
}

/// What the two processes say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Item {
    /// The incumbent offers connections; their descriptors travel beside, in this order.
    Offer(Vec<Token>),
    /// The incumbent's connections that were offered and have ended.
    Ended(Vec<Token>),
    /// A part of a connection's state.
    State {
        /// The connection, which was offered.
        token: Token,
        /// The part.
        part: Vec<u8>,
        /// Another part follows.
        more: bool,
    },
    /// The incumbent reads nothing more, and this is all.
    End(Carried),
    /// The incumbent reads again: what it has offered and ended with counts no more.
    Revoked,
    /// The successor has received so many items.
    Received(u64),
    /// The successor has this, after an end.
    Has(Carried),
}

impl Item {
    /// As it travels: the length of what follows (`u32`, little endian), and the item.
    ///
    /// # Errors
    /// It is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let payload = codec::encode(self)?;
        let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= ITEM);
        let length = length.ok_or(EncodeError::TooLong { length: payload.len() })?;
        Ok([&length.to_le_bytes()[..], &payload].concat())
    }

    /// The length of the item that `header` announces.
    ///
    /// # Errors
    /// It is longer than an item can be.
    pub fn length(header: [u8; 4]) -> Result<usize, DecodeError> {
        let length = u32::from_le_bytes(header) as usize;
        if length > ITEM { Err(DecodeError::TooLong { length }) } else { Ok(length) }
    }

    /// What `payload` says.
    ///
    /// # Errors
    /// It is no item.
    pub fn decode(payload: &[u8]) -> Result<Item, DecodeError> {
        codec::decode(payload)
    }
}

/// Why nothing is carried over this link any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryFault {
    /// As many descriptors came as were not announced.
    #[error("{came} descriptors came beside {announced} connections")]
    Descriptors {
        /// How many came.
        came: usize,
        /// How many were announced.
        announced: usize,
    },
    /// More than the receiver takes.
    #[error("more connections, or more of their state, than can be carried")]
    TooMuch,
    /// A connection that was offered before, or never.
    #[error("connection {0} is offered twice, or was not offered")]
    Token(Token),
    /// An item at a time when it means nothing.
    #[error("an item that does not belong here")]
    OutOfPlace,
    /// The successor has something else than it was sent.
    #[error("the successor has {has:?}, and was sent {sent:?}")]
    Differs {
        /// What was sent.
        sent: Carried,
        /// What came.
        has: Carried,
    },
}

/// The incumbent's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outgoing {
    offered: BTreeSet<Token>,
    sent: u64,
    received: u64,
    ended: Option<Carried>,
    confirmed: bool,
}

impl Outgoing {
    /// Whether an item may be sent before the successor has answered.
    pub fn may_send(&self) -> bool {
        self.sent - self.received < WINDOW
    }

    /// Whether all is confirmed that was sent so far.
    pub fn is_confirmed(&self) -> bool {
        self.sent == self.received && (self.ended.is_none() || self.confirmed)
    }

    /// What is to be sent next, so that the successor has the connections that are `open`: first what has ended, then what is
    /// new. `None` if nothing has changed.
    pub fn next(&mut self, open: &BTreeSet<Token>) -> Option<Item> {
        let ended: Vec<Token> = self.offered.difference(open).copied().take(BATCH).collect();
        if !ended.is_empty() {
            ended.iter().for_each(|token| _ = self.offered.remove(token));
            return Some(self.counted(Item::Ended(ended)));
        }
        let new: Vec<Token> = open.difference(&self.offered).copied().take(BATCH).collect();
        self.offered.extend(&new);
        if new.is_empty() { None } else { Some(self.counted(Item::Offer(new))) }
    }

    /// How many connections the successor is to have and was not sent yet.
    pub fn behind(&self, open: &BTreeSet<Token>) -> usize {
        open.difference(&self.offered).count()
    }

    /// The end: all states, and what they amount to. All of `states` are of connections that were offered.
    pub fn end(&mut self, states: &BTreeMap<Token, Vec<u8>>) -> Vec<Item> {
        let state_of = |token: &Token| states.get(token).map_or(&[][..], Vec::as_slice);
        let carried = Carried::of(self.offered.iter().map(|token| (*token, state_of(token))));
        let mut items = Vec::new();
        for (&token, state) in
            states.iter().filter(|(token, state)| self.offered.contains(token) && !state.is_empty())
        {
            let last = state.len().div_ceil(PART) - 1;
            let parts = state.chunks(PART).enumerate();
            items.extend(parts.map(|(nth, part)| Item::State {
                token,
                part: part.to_vec(),
                more: nth < last,
            }));
        }
        items.push(Item::End(carried));
        self.ended = Some(carried);
        items
    }

    fn counted(&mut self, item: Item) -> Item {
        self.sent += 1;
        item
    }

    /// What the successor has answered.
    ///
    /// # Errors
    /// It has something else than it was sent.
    pub fn answered(&mut self, item: &Item) -> Result<(), CarryFault> {
        match (item, self.ended) {
            (Item::Received(count), _) if (self.received..=self.sent).contains(count) => {
                self.received = *count;
                Ok(())
            }
            (Item::Has(has), Some(sent)) if *has == sent => {
                self.confirmed = true;
                Ok(())
            }
            (Item::Has(has), Some(sent)) => Err(CarryFault::Differs { sent, has: *has }),
            _ => Err(CarryFault::OutOfPlace),
        }
    }
}

/// What the successor's host is to do with an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// Keep the descriptors that came beside it, under these names, untouched; then answer.
    Keep(Vec<Token>, Item),
    /// Close the connections' descriptors; then answer.
    Close(Vec<Token>, Item),
    /// Nothing.
    Nothing,
    /// Answer.
    Answer(Item),
}

/// The successor's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Incoming {
    states: BTreeMap<Token, Vec<u8>>,
    /// The connection of which another part of its state is to come.
    unfinished: Option<Token>,
    bytes: usize,
    received: u64,
    ended: Option<Carried>,
}

impl Incoming {
    /// An item has come, with so many descriptors beside it.
    ///
    /// # Errors
    /// The incumbent makes no sense: nothing is carried.
    pub fn take(&mut self, item: Item, descriptors: usize) -> Result<Taken, CarryFault> {
        let announced = if let Item::Offer(tokens) = &item { tokens.len() } else { 0 };
        if descriptors != announced {
            return Err(CarryFault::Descriptors { came: descriptors, announced });
        }
        if self.ended.is_some() && item != Item::Revoked {
            return Err(CarryFault::OutOfPlace);
        }
        match item {
            Item::Offer(tokens) => self.offered(tokens),
            Item::Ended(tokens) => {
                for token in &tokens {
                    let state = self.states.remove(token).ok_or(CarryFault::Token(*token))?;
                    self.bytes -= state.len();
                }
                let answer = self.answer();
                Ok(Taken::Close(tokens, answer))
            }
            Item::State { token, part, more } => self.state(token, &part, more),
            Item::End(carried) if self.unfinished.is_none() => {
                let has = Carried::of(self.states.iter().map(|(token, state)| (*token, state.as_slice())));
                self.ended = (has == carried).then_some(carried);
                Ok(Taken::Answer(Item::Has(has)))
            }
            Item::Revoked => {
                *self = Incoming::default();
                Ok(Taken::Nothing)
            }
            Item::End(_) | Item::Received(_) | Item::Has(_) => Err(CarryFault::OutOfPlace),
        }
    }

    fn answer(&mut self) -> Item {
        self.received += 1;
        Item::Received(self.received)
    }

    fn offered(&mut self, tokens: Vec<Token>) -> Result<Taken, CarryFault> {
        if tokens.len() > BATCH || self.states.len() + tokens.len() > CONNECTIONS {
            return Err(CarryFault::TooMuch);
        }
        for &token in &tokens {
            if self.states.insert(token, Vec::new()).is_some() {
                return Err(CarryFault::Token(token));
            }
        }
        let answer = self.answer();
        Ok(Taken::Keep(tokens, answer))
    }

    fn state(&mut self, token: Token, part: &[u8], more: bool) -> Result<Taken, CarryFault> {
        if self.unfinished.is_some_and(|unfinished| unfinished != token) {
            return Err(CarryFault::OutOfPlace);
        }
        let state = self.states.get_mut(&token).ok_or(CarryFault::Token(token))?;
        if !state.is_empty() && self.unfinished.is_none() {
            return Err(CarryFault::Token(token));
        }
        self.bytes += part.len();
        if part.is_empty() || state.len() + part.len() > STATE || self.bytes > STATES {
            return Err(CarryFault::TooMuch);
        }
        state.extend_from_slice(part);
        self.unfinished = more.then_some(token);
        Ok(Taken::Nothing)
    }

    /// All connections with their states, if the incumbent has ended and not revoked. To be asked under the lock of the data
    /// directory, when all that has come was taken.
    pub fn into_carried(self) -> Option<BTreeMap<Token, Vec<u8>>> {
        self.ended.map(|_| self.states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn set(tokens: impl IntoIterator<Item = Token>) -> BTreeSet<Token> {
        tokens.into_iter().collect()
    }

    /// Sends all that is to be sent, and hands in the answers.
    fn settle(out: &mut Outgoing, into: &mut Incoming, open: &BTreeSet<Token>) -> Result<usize, CarryFault> {
        let mut sent = 0;
        while let Some(item) = out.next(open) {
            let beside = if let Item::Offer(tokens) = &item { tokens.len() } else { 0 };
            match into.take(item, beside)? {
                Taken::Keep(_, answer) | Taken::Close(_, answer) => out.answered(&answer)?,
                other => panic!("{other:?}"),
            }
            sent += 1;
        }
        Ok(sent)
    }

    fn end(
        out: &mut Outgoing,
        into: &mut Incoming,
        states: &BTreeMap<Token, Vec<u8>>,
    ) -> Result<(), CarryFault> {
        for item in out.end(states) {
            match into.take(item, 0)? {
                Taken::Nothing => {}
                Taken::Answer(answer) => out.answered(&answer)?,
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }

    #[test]
    fn the_successor_ends_with_what_is_open_and_its_states() {
        let (mut out, mut into) = (Outgoing::default(), Incoming::default());
        assert_eq!(settle(&mut out, &mut into, &set(0..500)), Ok(3), "in batches");
        assert_eq!(settle(&mut out, &mut into, &set(10..501)), Ok(2), "what has ended, and what is new");
        let states = BTreeMap::from([(10, vec![1]), (500, vec![7; 3 * PART + 1])]);
        end(&mut out, &mut into, &states).unwrap();
        assert!(out.is_confirmed());
        let carried = into.into_carried().unwrap();
        assert_eq!(carried.keys().copied().collect::<BTreeSet<_>>(), set(10..501));
        assert_eq!((&carried[&10], carried[&500].len(), carried[&11].len()), (&vec![1], 3 * PART + 1, 0));
    }

    #[test]
    fn without_an_end_or_after_a_revocation_nothing_counts() {
        let (mut out, mut into) = (Outgoing::default(), Incoming::default());
        settle(&mut out, &mut into, &set(0..3)).unwrap();
        assert_eq!(into.clone().into_carried(), None);
        end(&mut out, &mut into, &BTreeMap::new()).unwrap();
        assert!(into.clone().into_carried().is_some());
        assert_eq!(into.take(Item::Revoked, 0), Ok(Taken::Nothing));
        assert_eq!(into.into_carried(), None);
    }

    #[test]
    fn what_differs_is_not_confirmed() {
        let (mut out, mut into) = (Outgoing::default(), Incoming::default());
        settle(&mut out, &mut into, &set(0..3)).unwrap();
        let mut items = out.end(&BTreeMap::from([(1, vec![1])]));
        assert!(matches!(items.remove(0), Item::State { .. }), "a state is lost");
        let Ok(Taken::Answer(has)) = into.take(items.remove(0), 0) else { panic!("no answer") };
        assert!(matches!(out.answered(&has), Err(CarryFault::Differs { .. })));
        assert!(!out.is_confirmed());
        assert_eq!(into.into_carried(), None);
    }

    #[test]
    fn no_more_is_under_way_than_the_window() {
        let mut out = Outgoing::default();
        let open = set(0..1000);
        let mut sent = 0;
        while out.may_send() && out.next(&open).is_some() {
            sent += 1;
        }
        assert_eq!(sent, WINDOW);
        out.answered(&Item::Received(1)).unwrap();
        assert!(out.may_send());
        assert_eq!(out.answered(&Item::Received(9)), Err(CarryFault::OutOfPlace));
        assert_eq!(out.behind(&open), 1000 - 2 * BATCH);
    }

    #[test]
    fn nonsense_is_refused() {
        let offer = |tokens: &[Token]| Item::Offer(tokens.to_vec());
        let state = |token, part: &[u8], more| Item::State { token, part: part.to_vec(), more };
        let cases: [(&[(Item, usize)], CarryFault); 7] = [
            (&[(offer(&[1, 2]), 1)], CarryFault::Descriptors { came: 1, announced: 2 }),
            (&[(Item::End(Carried::default()), 1)], CarryFault::Descriptors { came: 1, announced: 0 }),
            (&[(offer(&[1]), 1), (offer(&[1]), 1)], CarryFault::Token(1)),
            (&[(Item::Ended(vec![1]), 0)], CarryFault::Token(1)),
            (
                &[(offer(&[1, 2]), 2), (state(1, b"x", true), 0), (state(2, b"y", false), 0)],
                CarryFault::OutOfPlace,
            ),
            (&[(Item::End(Carried::default()), 0), (offer(&[1]), 1)], CarryFault::OutOfPlace),
            (&[(offer(&[1]), 1), (state(1, b"", false), 0)], CarryFault::TooMuch),
        ];
        for (items, fault) in cases {
            let mut into = Incoming::default();
            let last = items.iter().map(|(item, beside)| into.take(item.clone(), *beside)).last();
            assert_eq!(last, Some(Err(fault)), "{items:?}");
        }
    }

    #[test]
    fn items_travel() {
        let item = Item::State { token: 7, part: vec![1, 2], more: true };
        let bytes = item.encode().unwrap();
        let (header, payload) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(Item::length(*header), Ok(payload.len()));
        assert_eq!(Item::decode(payload), Ok(item));
        assert!(Item::length(u32::MAX.to_le_bytes()).is_err());
    }
}
