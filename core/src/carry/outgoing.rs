//! The incumbent's side: what it sends next, and when all of it is confirmed.
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{BATCH, Carried, CarryFault, Item, PART, STATE, STATES, Token, WINDOW};

/// So few connections that come and go while a daemon serves are sent in its pause.
const FEW: usize = BATCH;
/// A daemon that accepts faster than it sends is not followed for ever: so many rounds.
const ROUNDS: usize = 50;

/// The next step of an incumbent's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Send the item; with [`Item::Offer`], the descriptors beside it.
    Send(Item),
    /// Wait for an item of the successor's, and hand it to [`Outgoing::answered`].
    Hear,
    /// Go on: there is nothing to send or to wait for.
    Done,
}

/// The incumbent's side. Nothing that it does after the drain depends on how many connections there are, but on how many have
/// a state or have come and gone.
///
/// All that was sent before the end is confirmed before the end is sent. So a link never holds more than the end, and what revokes
/// the end has room in it, however slow the successor is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outgoing {
    /// Open, and not offered yet.
    to_offer: BTreeSet<Token>,
    /// Offered, and ended since.
    to_end: BTreeSet<Token>,
    offered: BTreeSet<Token>,
    carried: Carried,
    rounds: usize,
    sent: u64,
    received: u64,
    /// The items that are to be sent before the end; none before the last changes are sent.
    states: Option<VecDeque<Item>>,
    /// The number of connections whose states the successor would not take.
    left_behind: usize,
    ended: bool,
    confirmed: bool,
    adopted: bool,
}

impl Outgoing {
    /// A connection is open, and can be kept.
    pub fn opened(&mut self, token: Token) {
        self.to_offer.insert(token);
    }

    /// A connection has ended, or can't be kept.
    pub fn closed(&mut self, token: Token) {
        if self.offered.remove(&token) {
            self.carried.remove(token, &[]);
            self.to_end.insert(token);
        }
        self.to_offer.remove(&token);
    }

    /// Names the next step by which the successor comes to have the connections that are open: what has ended is said first.
    pub fn follow(&mut self) -> Next {
        self.change().unwrap_or_else(|| self.confirm())
    }

    /// Returns whether the successor has so much of what is open that the drain may begin. To be asked once a
    /// round, after [`Outgoing::follow`] has come to its end and what has come and gone meanwhile was told.
    pub fn is_near(&mut self) -> bool {
        self.rounds += 1;
        self.to_offer.len() <= FEW || self.rounds >= ROUNDS
    }

    /// Names the next step once the daemon has drained and reads nothing more: the last changes, all states, the end. Of `states` those
    /// count that are of connections that were offered. A connection whose state the successor would not take is left behind: what one
    /// client sends, or does not read, must not keep the daemon from being replaced.
    pub fn finish(&mut self, states: impl FnOnce() -> BTreeMap<Token, Vec<u8>>) -> Next {
        if self.ended {
            return Next::Done;
        }
        if self.states.is_none() {
            if let Some(next) = self.change() {
                return next;
            }
            let mut states = states();
            for token in beyond(&states, STATE, STATES) {
                states.remove(&token);
                self.closed(token);
                self.left_behind += 1;
            }
            self.states = Some(self.items(&states));
        }
        if let Some(next) = self.change() {
            return next;
        }
        match self.states.as_mut().and_then(VecDeque::pop_front) {
            Some(Item::AllStates) => self.counted(Item::AllStates),
            Some(item) => Next::Send(item),
            None if self.sent > self.received => Next::Hear,
            None => {
                self.ended = true;
                Next::Send(Item::End(self.carried))
            }
        }
    }

    /// Returns how many connections the successor does not get, since it would not take their states.
    pub fn left_behind(&self) -> usize {
        self.left_behind
    }

    /// Names the next step until the successor has confirmed what was sent: to hear from it.
    pub fn confirm(&self) -> Next {
        if self.sent == self.received && self.ended == self.confirmed { Next::Done } else { Next::Hear }
    }

    /// Returns whether the successor goes on with the connections. To be asked under the lock of the data
    /// directory, when all that has come was handed to [`Outgoing::answered`].
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Returns what the successor is to be told before this process reads again; nothing, if it was told of
    /// no end.
    pub fn revocation(&self) -> Option<Item> {
        self.ended.then_some(Item::Revoked)
    }

    /// Takes note of the successor's answer.
    ///
    /// # Errors
    /// It has something else than it was sent.
    pub fn answered(&mut self, item: &Item) -> Result<(), CarryFault> {
        match item {
            Item::Received(count) if (self.received..=self.sent).contains(count) => {
                self.received = *count;
                Ok(())
            }
            Item::Has(has) if self.ended && *has == self.carried => {
                self.confirmed = true;
                Ok(())
            }
            Item::Adopted if self.ended => {
                self.adopted = true;
                Ok(())
            }
            Item::Refused(why) => Err(CarryFault::Refused(why.clone())),
            Item::Has(has) if self.ended => Err(CarryFault::Differs { sent: self.carried, has: *has }),
            _ => Err(CarryFault::OutOfPlace),
        }
    }

    /// Returns the next item about what has come and gone, if anything has.
    fn change(&mut self) -> Option<Next> {
        if self.to_end.is_empty() && self.to_offer.is_empty() {
            return None;
        }
        if self.sent - self.received >= WINDOW {
            return Some(Next::Hear);
        }
        let ended = first(&mut self.to_end);
        if !ended.is_empty() {
            return Some(self.counted(Item::Ended(ended)));
        }
        let new = first(&mut self.to_offer);
        for token in &new {
            self.offered.insert(*token);
            self.carried.add(*token, &[]);
        }
        Some(self.counted(Item::Offer(new)))
    }

    fn counted(&mut self, item: Item) -> Next {
        self.sent += 1;
        Next::Send(item)
    }

    /// Returns what is sent of `states`, after which the end can say what there is in all.
    fn items(&mut self, states: &BTreeMap<Token, Vec<u8>>) -> VecDeque<Item> {
        let mut items = VecDeque::new();
        let is_offered =
            |(token, state): &(&Token, &Vec<u8>)| self.offered.contains(token) && !state.is_empty();
        for (&token, state) in states.iter().filter(is_offered) {
            self.carried.remove(token, &[]);
            self.carried.add(token, state);
            let last = state.len().div_ceil(PART) - 1;
            let parts = state.chunks(PART).enumerate();
            items.extend(parts.map(|(nth, part)| Item::State {
                token,
                part: part.to_vec(),
                more: nth < last,
            }));
        }
        if !items.is_empty() {
            items.push_back(Item::AllStates);
        }
        items
    }
}

/// The connections whose states are longer than `each`, or than what the states before leave of `all`, in bytes.
fn beyond(states: &BTreeMap<Token, Vec<u8>>, each: usize, all: usize) -> Vec<Token> {
    let mut left = all;
    let mut has_no_room = |state: &Vec<u8>| {
        let fits = state.len() <= each.min(left);
        left -= if fits { state.len() } else { 0 };
        !fits
    };
    states.iter().filter(|(_, state)| has_no_room(state)).map(|(token, _)| *token).collect()
}

/// The first of `tokens`, as many as one item names.
fn first(tokens: &mut BTreeSet<Token>) -> Vec<Token> {
    let rest = tokens.iter().nth(BATCH).copied().map(|next| tokens.split_off(&next)).unwrap_or_default();
    core::mem::replace(tokens, rest).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_has_no_room_is_left_behind_and_nothing_else() {
        let states = |sizes: &[usize]| (0..).zip(sizes.iter().map(|size| vec![7; *size])).collect();
        assert_eq!(beyond(&states(&[4, 5, 0, 4]), 4, 100), [1], "one that is too long");
        assert_eq!(beyond(&states(&[4, 4, 3, 1, 1]), 4, 9), [2, 4], "those for which too little is left");
        assert!(beyond(&states(&[4, 4]), 4, 8).is_empty());
    }

    #[test]
    fn a_state_that_is_too_long_costs_its_client_and_not_the_handoff() {
        let mut outgoing = Outgoing { offered: BTreeSet::from([1, 2]), ..Outgoing::default() };
        outgoing.carried.add(1, &[]);
        outgoing.carried.add(2, &[]);
        let long = || BTreeMap::from([(1, vec![0; STATE + 1]), (2, vec![1])]);
        assert_eq!(outgoing.finish(long), Next::Send(Item::Ended(vec![1])));
        assert_eq!(outgoing.left_behind(), 1);
        let state = Item::State { token: 2, part: vec![1], more: false };
        assert_eq!(outgoing.finish(BTreeMap::new), Next::Send(state));
        assert_eq!(outgoing.finish(BTreeMap::new), Next::Send(Item::AllStates));
        outgoing.answered(&Item::Received(2)).unwrap();
        let Next::Send(Item::End(carried)) = outgoing.finish(BTreeMap::new) else { panic!("no end") };
        assert_eq!(carried.count, 1);
    }
}
