//! The items that an incumbent sends of its connections, and their states.
use std::collections::HashSet;
use std::mem::discriminant;

use bolero::check;
use handoff::carry::{ConnectionState, Incoming, Item, Taken};
use handoff::frame::MAX_PAYLOAD;

use crate::{Hostile, INPUTS, Seeds, within};

/// The items at the begin of `bytes`, up to the first that is none.
fn items(mut bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        let Ok(length) = Item::length(*header) else { break };
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let Ok(item) = Item::decode(payload) else { break };
        items.push(item);
        bytes = rest;
    }
    items
}

/// Takes `items` as if all descriptors came that they announce, until one is refused.
fn take(items: &[Item]) -> Vec<Taken> {
    let mut incoming = Incoming::default();
    let beside = |item: &Item| if let Item::Offer(tokens) = item { tokens.len() } else { 0 };
    items.iter().map_while(|item| incoming.take(item.clone(), beside(item)).ok()).collect()
}

fn holds(bytes: &[u8]) {
    let items = within(16 * bytes.len() + 3 * MAX_PAYLOAD, || items(bytes));
    for item in &items {
        let encoded = item.encode().unwrap();
        assert!(Item::decode(&encoded[4..]).as_ref() == Ok(item), "{item:?}");
    }
    let taken = within(64 * bytes.len() + 3 * MAX_PAYLOAD, || take(&items));
    for (item, taken) in items.iter().zip(taken) {
        match (item, taken) {
            (Item::Offer(offered), Taken::Keep(kept, _)) => assert_eq!(offered, &kept),
            (Item::Ended(ended), Taken::Close(closed, _)) => assert_eq!(ended, &closed),
            (Item::State { token, more: false, .. }, Taken::State(of, _)) => assert_eq!(token, &of),
            (Item::State { more: true, .. } | Item::Revoked, Taken::Nothing) => {}
            (Item::AllStates, Taken::Answer(Item::Received(_))) => {}
            (Item::End(_), Taken::Answer(Item::Has(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn items_of_an_incumbent() {
    let seeds = Seeds::of("items");
    seeds.iter().for_each(|seed| {
        let items = items(seed);
        assert_eq!(take(&items).len(), items.len(), "{items:?}");
        holds(seed);
    });
    let kinds: HashSet<_> = seeds.iter().flat_map(items).map(|item| discriminant(&item)).collect();
    assert_eq!(kinds.len(), 6, "an incumbent sends six kinds of items, each is in a seed");
    check!().with_type::<Hostile>().with_iterations(INPUTS).for_each(|hostile| holds(&hostile.from(&seeds)));
}

#[test]
fn states_of_connections() {
    let seeds = Seeds::of("states");
    let holds = |bytes: &[u8]| {
        let state = within(2 * bytes.len() + 1024, || ConnectionState::decode(bytes));
        if let Some(state) = state.filter(|state| !state.is_empty()) {
            assert_eq!(state.encode(), bytes);
        }
    };
    seeds.iter().for_each(|seed| {
        assert!(ConnectionState::decode(seed).is_some_and(|state| !state.is_empty()));
        holds(seed);
    });
    check!().with_type::<Hostile>().with_iterations(INPUTS).for_each(|hostile| holds(&hostile.from(&seeds)));
}
