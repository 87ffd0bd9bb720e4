//! The key-value server under the reference supervisor, with load on it.
use handoff_kv::load::{Load, LoadOptions};
use handoff_tests::{Bin, Reference, World, free_address, until};

/// The key-value server's configuration in `world`, and where it speaks RESP.
fn reference(world: &World) -> (Reference, String) {
    let resp = free_address();
    let reference = Reference::new(world, &[("resp", resp.clone()), ("http", free_address())]);
    reference.configure(&Bin::Kv.path(), &arguments(world).each_ref().map(String::as_str));
    (reference, resp)
}

fn arguments(world: &World) -> [String; 6] {
    let (data, control) = (world.layout().data(), world.layout().control());
    let [data, control] = [data, control].map(|path| path.display().to_string());
    ["--data".into(), data, "--control".into(), control, "--map-size-mb".into(), "64".into()]
}

fn load(addr: &str) -> Load {
    let options = LoadOptions { connections: 4, pace: Some(200.0), ..LoadOptions::default() };
    Load::start(addr.parse().unwrap(), options).unwrap()
}

#[test]
fn the_first_start_on_an_empty_directory_succeeds() {
    let world = World::new();
    let (reference, _) = reference(&world);
    reference.start();
    let output = world.output();
    assert!(!output.contains("NobodyServes") && !output.contains("can't open"), "{output}");
}

#[test]
fn ten_swaps_under_load_lose_nothing_and_fail_nobody() {
    let world = World::new();
    let (reference, resp) = reference(&world);
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
    let (reference, resp) = reference(&world);
    reference.start();
    let load = load(&resp);
    until("load", || load.progress().requests > 100);
    let good = arguments(&world);
    let mut broken: Vec<&str> = good.iter().map(String::as_str).collect();
    broken.push("--fail-open");
    reference.configure(&Bin::Kv.path(), &broken);
    let (code, swap) = reference.ask_json("swap");
    assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
    assert!(swap["reason"].as_str().unwrap().contains("--fail-open"), "{swap}");
    let before = load.progress().requests;
    until("it serves on", || load.progress().requests > before + 100);
    reference.configure(&Bin::Kv.path(), &broken[..6]);
    assert_eq!(reference.ask_json("swap").0, 0, "the next one commits");
    until("the new process is seen", || load.progress().seen.len() == 2);
    let report = load.stop();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.counters.cut, 0, "no client lost its connection: {report:#?}");
}
