//! Connections on their way from an incumbent to its successor, while both live.
//!
//! The incumbent *offers* its connections: it sends their descriptors while it still serves, and what changes meanwhile. When it
//! has drained, it reads nothing more, sends the state of each connection that has one, and ends with the number and the digest of
//! all. The successor confirms these, or the seal fails and the handoff is rolled back. The successor touches a connection only
//! when it serves, and says first that it *adopts* them. An incumbent that goes on *revokes* first. Either says so under the lock of
//! the data directory, into a link that has room for it. So each knows of the other once it has the lock itself, though the other
//! has died: there is one reader, as there is one writer.
//!
//! This module decides what is sent, in which order, and what counts: `outgoing.rs` is the incumbent's side, `steps.rs` says what is
//! done around which hook, and this file is the rest. Its hosts move bytes and descriptors.
use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, EncodeError};
use crate::text::PlainText;
use crate::time::Duration;

mod outgoing;
mod state;
mod steps;

pub use outgoing::{Next, Outgoing};
pub use state::ConnectionState;
pub use steps::{CarryHook, CarryStep};

/// The largest number of connections that one item offers: each of its descriptors travels beside it.
pub const BATCH: usize = 200;
/// The largest number of items that are under way without an answer: descriptors that were not received yet count against a
/// limit of the sender's user (`ETOOMANYREFS`, `unix(7)`).
pub const WINDOW: u64 = 2;
/// The largest number of connections that are carried.
pub const CONNECTIONS: usize = 1 << 20;
/// The longest state of one connection, in bytes: its unread input, its unsent output, its session. A connection with more stays
/// behind, and so do those for whose states there is no room in [`STATES`].
pub const STATE: usize = 16 << 20;
/// The largest total of states that a successor takes, in bytes.
pub const STATES: usize = 1 << 30;
/// The longest time that the successor may leave an item without an answer. One that can't answer is about to
/// be replaced, or killed as silent.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The longest part of a state that travels in one item, in bytes.
const PART: usize = 256 * 1024;
/// The longest item, in bytes.
pub const ITEM: usize = PART + 4096;

/// A connection, as the incumbent that offers it numbers it.
pub type Token = u64;

/// The totals of all that is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Carried {
    /// The number of connections.
    pub count: u64,
    /// The sum of the digests of each connection and its state: it does not depend on their order.
    pub digest: u64,
}

impl Carried {
    fn add(&mut self, token: Token, state: &[u8]) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(digest(token, state));
    }

    fn remove(&mut self, token: Token, state: &[u8]) {
        self.count -= 1;
        self.digest = self.digest.wrapping_sub(digest(token, state));
    }
}

fn digest(token: Token, state: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&token.to_le_bytes());
    hasher.update(state);
    u64::from(hasher.finalize())
}

/// The items that the two processes send to each other.
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
        /// `true` if another part follows.
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
    /// The successor takes no connections over, and why.
    Refused(PlainText),
    /// The incumbent has sent all states. The answer to it says that nothing is under way any more: what follows has room.
    AllStates,
    /// The successor goes on with the connections: the incumbent must not.
    Adopted,
}

impl Item {
    /// Encodes the item as it travels: the length of what follows (`u32`, little endian), and the item.
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

    /// Returns what `payload` says.
    ///
    /// # Errors
    /// It is no item.
    pub fn decode(payload: &[u8]) -> Result<Item, DecodeError> {
        codec::decode(payload)
    }
}

/// The reason why nothing is carried over this link any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryFault {
    /// As many descriptors came as were not announced.
    #[error("{came} descriptors came beside {announced} connections")]
    Descriptors {
        /// The number of descriptors that came.
        came: usize,
        /// The number of descriptors that were announced.
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
    /// The successor takes no connections over.
    #[error("{0}")]
    Refused(PlainText),
    /// The successor has something else than it was sent.
    #[error("the successor has {has:?}, and was sent {sent:?}")]
    Differs {
        /// The totals that were sent.
        sent: Carried,
        /// The totals that came.
        has: Carried,
    },
}

/// The thing that the successor's host is to do with an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// Keep the descriptors that came beside it, under these names, untouched; then answer.
    Keep(Vec<Token>, Item),
    /// Close the connections' descriptors; then answer.
    Close(Vec<Token>, Item),
    /// Keep this state of a connection. A state that can't be understood is an error, which ends the link.
    State(Token, Vec<u8>),
    /// Nothing.
    Nothing,
    /// Answer.
    Answer(Item),
}

/// The successor's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Incoming {
    /// The connections, and whether the state of each has come.
    connections: BTreeMap<Token, bool>,
    /// The connection of which another part of its state is to come, and the parts that have.
    unfinished: Option<(Token, Vec<u8>)>,
    /// The bytes of all states.
    bytes: usize,
    carried: Carried,
    received: u64,
    is_whole: bool,
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
        if self.is_whole && item != Item::Revoked {
            return Err(CarryFault::OutOfPlace);
        }
        match item {
            Item::Offer(tokens) => self.offered(tokens),
            Item::Ended(tokens) => self.ended(tokens),
            Item::State { token, part, more } => self.state(token, &part, more),
            Item::End(carried) if self.unfinished.is_none() => {
                self.is_whole = carried == self.carried;
                Ok(Taken::Answer(Item::Has(self.carried)))
            }
            Item::Revoked => {
                *self = Incoming::default();
                Ok(Taken::Nothing)
            }
            Item::AllStates if self.unfinished.is_none() => Ok(Taken::Answer(self.answer())),
            Item::End(_)
            | Item::AllStates
            | Item::Received(_)
            | Item::Has(_)
            | Item::Refused(_)
            | Item::Adopted => Err(CarryFault::OutOfPlace),
        }
    }

    fn answer(&mut self) -> Item {
        self.received += 1;
        Item::Received(self.received)
    }

    fn offered(&mut self, tokens: Vec<Token>) -> Result<Taken, CarryFault> {
        if tokens.len() > BATCH || self.connections.len() + tokens.len() > CONNECTIONS {
            return Err(CarryFault::TooMuch);
        }
        for &token in &tokens {
            if self.connections.insert(token, false).is_some() {
                return Err(CarryFault::Token(token));
            }
            self.carried.add(token, &[]);
        }
        let answer = self.answer();
        Ok(Taken::Keep(tokens, answer))
    }

    fn ended(&mut self, tokens: Vec<Token>) -> Result<Taken, CarryFault> {
        for &token in &tokens {
            match self.connections.remove(&token) {
                Some(false) => self.carried.remove(token, &[]),
                // A state comes when nothing ends any more.
                Some(true) | None => return Err(CarryFault::Token(token)),
            }
        }
        let answer = self.answer();
        Ok(Taken::Close(tokens, answer))
    }

    fn state(&mut self, token: Token, part: &[u8], more: bool) -> Result<Taken, CarryFault> {
        let mut state = match self.unfinished.take() {
            Some((unfinished, state)) if unfinished == token => state,
            Some(_) => return Err(CarryFault::OutOfPlace),
            None => Vec::new(),
        };
        let has_state = self.connections.get_mut(&token).filter(|has_state| !**has_state);
        let has_state = has_state.ok_or(CarryFault::Token(token))?;
        self.bytes += part.len();
        if part.is_empty() || state.len() + part.len() > STATE || self.bytes > STATES {
            return Err(CarryFault::TooMuch);
        }
        state.extend_from_slice(part);
        if more {
            self.unfinished = Some((token, state));
            return Ok(Taken::Nothing);
        }
        *has_state = true;
        self.carried.remove(token, &[]);
        self.carried.add(token, &state);
        Ok(Taken::State(token, state))
    }

    /// Returns whether all connections and their states are here, and the incumbent has not gone on by
    /// itself.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns what the incumbent is to be told before any connection is read; nothing, if none is to be. To
    /// be asked under the lock of the data directory, when all that has come was taken. If it can't be said
    /// although the incumbent has not closed the link, nothing may be read.
    pub fn adoption(&self) -> Option<Item> {
        self.is_whole.then_some(Item::Adopted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// The two ends, and what the successor's host keeps.
    #[derive(Default)]
    struct Ends {
        out: Outgoing,
        into: Incoming,
        kept: BTreeMap<Token, Vec<u8>>,
    }

    impl Ends {
        fn open(&mut self, tokens: impl IntoIterator<Item = Token>) {
            tokens.into_iter().for_each(|token| self.out.opened(token));
        }

        fn close(&mut self, tokens: impl IntoIterator<Item = Token>) {
            tokens.into_iter().for_each(|token| self.out.closed(token));
        }

        fn carry(&mut self, item: Item) -> Result<(), CarryFault> {
            let beside = if let Item::Offer(tokens) = &item { tokens.len() } else { 0 };
            match self.into.take(item, beside)? {
                Taken::Keep(tokens, answer) => {
                    self.kept.extend(tokens.into_iter().map(|token| (token, Vec::new())));
                    self.out.answered(&answer)
                }
                Taken::Close(tokens, answer) => {
                    self.kept.retain(|token, _| !tokens.contains(token));
                    self.out.answered(&answer)
                }
                Taken::State(token, state) => {
                    self.kept.insert(token, state);
                    Ok(())
                }
                Taken::Answer(answer) => self.out.answered(&answer),
                Taken::Nothing => Ok(()),
            }
        }

        /// Sends all that is next, and hands in the answers; returns how many items that took.
        fn send(&mut self, next: impl Fn(&mut Outgoing) -> Next) -> Result<usize, CarryFault> {
            let mut sent = 0;
            while let Next::Send(item) = next(&mut self.out) {
                self.carry(item)?;
                sent += 1;
            }
            Ok(sent)
        }

        fn settle(&mut self) -> Result<usize, CarryFault> {
            self.send(Outgoing::follow)
        }

        fn end(&mut self, states: &BTreeMap<Token, Vec<u8>>) -> Result<usize, CarryFault> {
            self.send(|out| out.finish(|| states.clone()))
        }
    }

    #[test]
    fn the_successor_ends_with_what_is_open_and_its_states() {
        let mut ends = Ends::default();
        ends.open(0..500);
        assert_eq!(ends.settle(), Ok(3), "in batches");
        ends.open([500, 501]);
        ends.close((0..10).chain([501]));
        assert_eq!(ends.settle(), Ok(2), "what has ended, and what is new");
        let states = BTreeMap::from([(10, vec![1]), (500, vec![7; 3 * PART + 1]), (501, vec![1])]);
        assert_eq!(ends.end(&states), Ok(7), "five parts, that these are all states, the end");
        assert!(ends.out.confirm() == Next::Done && ends.into.is_whole());
        assert!(ends.kept.keys().copied().eq(10..501));
        assert_eq!(
            (&ends.kept[&10], ends.kept[&500].len(), ends.kept[&11].len()),
            (&vec![1], 3 * PART + 1, 0)
        );
    }

    #[test]
    fn without_an_end_or_after_a_revocation_nothing_counts() {
        let mut ends = Ends::default();
        ends.open(0..3);
        ends.settle().unwrap();
        assert_eq!((ends.into.adoption(), ends.out.revocation()), (None, None));
        assert_eq!(ends.end(&BTreeMap::new()), Ok(1));
        assert_eq!(ends.into.adoption(), Some(Item::Adopted));
        ends.carry(ends.out.revocation().unwrap()).unwrap();
        assert_eq!(ends.into.adoption(), None);
    }

    #[test]
    fn what_was_adopted_is_not_taken_back() {
        let mut ends = Ends::default();
        ends.open(0..3);
        ends.settle().unwrap();
        assert_eq!(ends.out.answered(&Item::Adopted), Err(CarryFault::OutOfPlace));
        ends.end(&BTreeMap::new()).unwrap();
        assert!(!ends.out.is_adopted());
        ends.out.answered(&ends.into.adoption().unwrap()).unwrap();
        assert!(ends.out.is_adopted());
    }

    #[test]
    fn the_end_waits_until_all_before_it_is_confirmed() {
        let mut out = Outgoing::default();
        out.opened(0);
        let finish = |out: &mut Outgoing| out.finish(|| BTreeMap::from([(0, vec![1])]));
        assert_eq!(finish(&mut out), Next::Send(Item::Offer(vec![0])));
        assert!(matches!(finish(&mut out), Next::Send(Item::State { .. })));
        assert_eq!(finish(&mut out), Next::Send(Item::AllStates));
        assert_eq!(finish(&mut out), Next::Hear);
        out.answered(&Item::Received(2)).unwrap();
        assert!(matches!(finish(&mut out), Next::Send(Item::End(_))));
        assert_eq!((finish(&mut out), out.confirm()), (Next::Done, Next::Hear));
    }

    #[test]
    fn what_differs_is_not_confirmed() {
        let mut ends = Ends::default();
        ends.open(0..3);
        ends.settle().unwrap();
        let finish = |out: &mut Outgoing| out.finish(|| BTreeMap::from([(1, vec![1])]));
        assert!(matches!(finish(&mut ends.out), Next::Send(Item::State { .. })), "which is lost");
        assert!(matches!(ends.send(finish), Err(CarryFault::Differs { .. })));
        assert!(ends.out.confirm() == Next::Hear && !ends.into.is_whole());
    }

    #[test]
    fn no_more_is_under_way_than_the_window() {
        let mut ends = Ends::default();
        ends.open(0..1000);
        let mut sent = 0;
        while let Next::Send(_) = ends.out.follow() {
            sent += 1;
        }
        assert_eq!((sent, ends.out.follow()), (WINDOW, Next::Hear));
        assert!(!ends.out.is_near(), "three batches are missing");
        ends.out.answered(&Item::Received(1)).unwrap();
        assert!(matches!(ends.out.follow(), Next::Send(_)));
        assert_eq!(ends.out.answered(&Item::Received(9)), Err(CarryFault::OutOfPlace));
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
