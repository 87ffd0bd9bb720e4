//! Every single fault at every place: nobody serves for longer than its rule allows, and `docs/outages.md` says so.
#![cfg(feature = "sim")]
use std::fs;
use std::path::Path;

use handoff_sim::outage::{Outages, UPDATE};
use handoff_sim::run::{Planted, ledgers};

#[test]
fn no_single_fault_keeps_the_service_down_for_longer_than_the_table_says() {
    let table = Outages::all(ledgers(), Planted::Nothing).run(|_| {});
    assert!(table.broken.is_empty(), "{}", table.breaches(Path::new("target/handoff-failures")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outages.md");
    let text = fs::read_to_string(path).expect("docs/outages.md");
    let updated = table.update(&text).expect("a place for the table in it");
    assert!(
        text == updated,
        "the table in docs/outages.md is not what the code does now; put it there: {UPDATE}"
    );
}
