//! The files of two slots: the record and the journal.
use std::fmt::Debug;

use bolero::check;
use handoff::codec;
use handoff::id::InBoot;
use handoff::journal::{self, Journal};
use handoff::record::{self, Record};
use handoff::slots::{Magic, SLOTS, decode_slots, encode_slot};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Hostile, INPUTS, Seeds, within};

/// A kind of file: its magic, and the size of its slots.
type SlotsKind = (Magic, usize);

const RECORD: SlotsKind = (record::MAGIC, record::SLOT_SIZE);
const JOURNAL: SlotsKind = (journal::MAGIC, journal::SLOT_SIZE);

fn file<T: Serialize>((magic, size): SlotsKind, values: &[T; SLOTS]) -> Vec<u8> {
    let mut file = vec![0; SLOTS * size];
    for (slot, value) in values.iter().enumerate() {
        let bytes = encode_slot(magic, slot as u64 + 1, value, size).unwrap();
        file[slot * size..][..bytes.len()].copy_from_slice(&bytes);
    }
    file
}

/// A value of a slot, taken for itself.
fn value_holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8], (magic, size): SlotsKind) {
    let Ok(value) = within(16 * bytes.len() + 3 * codec::LIMIT, || codec::decode::<T>(bytes)) else { return };
    assert_eq!(codec::encode(&value).unwrap(), bytes, "{value:?}");
    if let Ok(slot) = encode_slot(magic, 9, &value, size) {
        let mut file = vec![0; SLOTS * size];
        file[size..][..slot.len()].copy_from_slice(&slot);
        let read = decode_slots::<T>(&file, magic, size);
        assert_eq!((read.newest, read.next), (Some((9, value)), 0));
    }
}

/// A file that was damaged: what is read is what was written last, or what was written before it, or nothing.
fn file_holds<T: DeserializeOwned + PartialEq + Debug>(
    file: &[u8],
    (magic, size): SlotsKind,
    written: &[T; SLOTS],
) {
    let read = within(16 * file.len() + 3 * codec::LIMIT, || decode_slots::<T>(file, magic, size));
    assert!(read.next < SLOTS && read.problems.len() <= SLOTS, "{read:?}");
    match read.newest {
        Some((sequence, value)) => assert_eq!(Some(&value), written.get(sequence as usize - 1), "{sequence}"),
        // What lies behind the slots is no part of the file.
        None => {
            let unwritten = file.iter().take(SLOTS * size).all(|byte| *byte == 0);
            assert!(!read.problems.is_empty() || unwritten, "nothing, and no reason");
        }
    }
}

fn target<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone + std::panic::RefUnwindSafe>(
    seeds: Seeds,
    kind: SlotsKind,
) -> impl Fn(&Hostile) + std::panic::RefUnwindSafe {
    let values: Vec<T> = seeds.iter().map(|seed| codec::decode(seed).expect("a seed is good")).collect();
    let written = [values[0].clone(), values[values.len() - 1].clone()];
    let whole = file(kind, &written);
    assert_eq!(decode_slots(&whole, kind.0, kind.1).newest, Some((2, written[1].clone())));
    move |hostile| {
        value_holds::<T>(&hostile.from(&seeds), kind);
        file_holds(&hostile.edit(whole.clone()), kind, &written);
    }
}

#[test]
fn records() {
    let holds = target::<InBoot<Record>>(Seeds::of("record"), RECORD);
    check!().with_type::<Hostile>().with_iterations(INPUTS).for_each(holds);
}

#[test]
fn journals() {
    let holds = target::<InBoot<Journal>>(Seeds::of("journal"), JOURNAL);
    check!().with_type::<Hostile>().with_iterations(INPUTS).for_each(holds);
}
