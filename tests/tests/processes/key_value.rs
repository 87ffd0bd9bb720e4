//! The key-value server under the reference supervisor, with load on it.
use handoff_kv::load::{Load, LoadOptions};
use handoff_tests::{Reference, World, until};

fn load(addr: &str) -> Load {
    let options = LoadOptions { connections: 4, pace: Some(200.0), ..LoadOptions::default() };
    Load::start(addr.parse().unwrap(), options).unwrap()
}

#[test]
fn the_first_start_on_an_empty_directory_succeeds() {
    let world = World::new();
    let (reference, _) = Reference::for_kv(&world);
    reference.start();
    let output = world.output();
    assert!(!output.contains("NobodyServes") && !output.contains("can't open"), "{output}");
}

#[test]
fn ten_swaps_under_load_lose_nothing_and_fail_nobody() {
    let world = World::new();
    let (reference, resp) = Reference::for_kv(&world);
    reference.start();
    let load = load(&resp);
    for round in 0..10 {
        let before = load.progress();
        until("load", || load.progress().requests > before.requests + 50);
        let (code, swap) = reference.ask_json("swap");
        assert_eq!(code, 0, "swap {round}: {swap}");
        until("the new process is seen", || load.progress().seen.len() > round + 1);
    }
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.counters.seen.len(), 11, "{report:#?}");
    assert_eq!(report.counters.cut, 0, "no client lost its connection: {report:#?}");
}

#[test]
fn a_build_that_can_not_open_is_rolled_back_under_load() {
    let world = World::new();
    let (reference, resp) = Reference::for_kv(&world);
    reference.start();
    let load = load(&resp);
    until("load", || load.progress().requests > 100);
    reference.configure_kv(&["--fail-open"]);
    let (code, swap) = reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("--fail-open"), "{swap}");
    let before = load.progress().requests;
    until("it serves on", || load.progress().requests > before + 100);
    reference.configure_kv(&[]);
    assert_eq!(reference.ask_json("swap").0, 0, "the next one commits");
    until("the new process is seen", || load.progress().seen.len() == 2);
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.counters.cut, 0, "no client lost its connection: {report:#?}");
}
