//! The metrics of swaps, restarts and what runs; and peers that do not scrape but disturb.
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use handoff_tests::{Act, HookName, PATIENCE, Reference, World, free_address, processes, until};
use nix::sys::signal::Signal;

/// A supervisor with a daemon that serves, and with metrics at an address.
struct ScrapedScene {
    world: World,
    reference: Reference,
    addr: String,
}

impl ScrapedScene {
    fn new() -> ScrapedScene {
        let world = World::new();
        let addr = free_address();
        let reference = reference(&world, &addr);
        reference.start();
        ScrapedScene { world, reference, addr }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The samples, by their name and labels. A report is told again for a tenth of a second; a new one is waited for.
    #[track_caller]
    fn scrape(&self) -> BTreeMap<String, f64> {
        thread::sleep(Duration::from_millis(110));
        scrape(self.connect())
    }

    #[track_caller]
    fn sample(&self, name: &str) -> f64 {
        sample(&self.scrape(), name)
    }
}

/// A supervisor that is to tell metrics at `addr`.
fn reference(world: &World, addr: &str) -> Reference {
    let reference = Reference::for_actor(world);
    reference.add(&format!("metrics = {addr:?}\n"));
    reference.configure_build(&world.build());
    reference
}

#[track_caller]
fn scrape(mut stream: impl Read + Write) -> BTreeMap<String, f64> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: supervisor\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.into(), value.parse().unwrap()));
    samples.map(|line| parse(line).unwrap()).collect()
}

/// The sum of what `samples` have of `name`, whatever the labels.
fn sample(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    samples.iter().filter(|(sample, _)| sample.split('{').next() == Some(name)).map(|(_, value)| value).sum()
}

#[test]
fn a_swap_and_one_that_is_rolled_back_are_counted_once_each_and_timed() {
    let scene = ScrapedScene::new();
    let before = scene.scrape();
    assert_eq!((sample(&before, "handoff_daemon_serving"), sample(&before, "handoff_listeners")), (1.0, 2.0));
    assert_eq!(sample(&before, "handoff_handoffs_total"), 0.0, "{before:?}");
    let build = before.keys().find(|key| key.starts_with("handoff_daemon_info{")).unwrap();
    let (_, status) = scene.reference.ask_json("status");
    assert!(build.contains(status["answer"]["build_id"].as_str().unwrap()), "{build}");
    assert!(before.contains_key(r#"handoff_supervisor_activity{activity="watching"}"#), "{before:?}");

    let (_, swap) = scene.reference.ask_json("swap");
    let after = scene.scrape();
    let committed = r#"handoff_handoffs_total{outcome="committed",reason="none"}"#;
    assert_eq!(after.get(committed), Some(&1.0), "{after:?}");
    assert_eq!(sample(&after, "handoff_last_handoff_committed"), 1.0);
    let (pause, took) =
        (sample(&after, "handoff_pause_seconds_sum"), sample(&after, "handoff_duration_seconds_sum"));
    let (pause_ms, total_ms) =
        (swap["pause_ms"].as_f64().unwrap(), swap["phases_ms"]["total"].as_f64().unwrap());
    assert!(
        (pause * 1000.0 - pause_ms).abs() < 1e-6 && (took * 1000.0 - total_ms).abs() < 1e-6,
        "{swap}\n{after:?}"
    );
    assert!(0.0 < pause_ms && pause_ms < total_ms, "{swap}");
    assert_eq!(after.get(r#"handoff_phase_seconds_count{phase="drain"}"#), Some(&1.0), "{after:?}");

    scene.reference.configure_build(&scene.world.build().on(HookName::Open, [Act::Fail]));
    let (_, swap) = scene.reference.ask_json("swap");
    assert_eq!(swap["reason_name"], "successor_failed", "{swap}");
    let last = scene.scrape();
    let rolled_back = r#"handoff_handoffs_total{outcome="rolled_back",reason="successor_failed"}"#;
    assert_eq!((last.get(committed), last.get(rolled_back)), (Some(&1.0), Some(&1.0)), "{last:?}");
    assert_eq!(
        (sample(&last, "handoff_pause_seconds_count"), sample(&last, "handoff_daemon_serving")),
        (2.0, 1.0)
    );
    assert_eq!(sample(&last, "handoff_last_handoff_committed"), 0.0);
    assert_eq!(last.get(r#"handoff_phase_seconds_count{phase="roll_back"}"#), Some(&1.0), "{last:?}");
}

#[test]
fn refusals_restarts_and_recoveries_are_told_and_a_next_supervisor_begins_anew() {
    let scene = ScrapedScene::new();
    assert_eq!(scene.sample("handoff_recoveries_total"), 1.0, "at its start it looked for a daemon");
    scene.reference.configure(std::path::Path::new("/nowhere"), &[]);
    assert_eq!(scene.reference.ask_json("swap").0, 78);
    assert_eq!(scene.scrape().get(r#"handoff_refused_swaps_total{code="78"}"#), Some(&1.0));
    scene.reference.configure_build(&scene.world.build());

    let daemon = scene.world.assert_one_serves(&[scene.reference.pid().unwrap()]);
    processes::send(daemon, Signal::SIGKILL);
    until("it is started again", || {
        let samples = scene.scrape();
        (sample(&samples, "handoff_daemon_restarts_total"), sample(&samples, "handoff_daemon_serving"))
            == (1.0, 1.0)
    });
    assert_eq!(scene.reference.ask_json("swap").0, 0);
    scene.reference.kill();
    scene.reference.start();
    let samples = scene.scrape();
    assert_eq!(sample(&samples, "handoff_handoffs_total"), 0.0, "{samples:?}");
    assert_eq!(samples.get(r#"handoff_recoveries_total{found="serving"}"#), Some(&1.0), "{samples:?}");
    assert_eq!(sample(&samples, "handoff_last_handoff_committed"), 1.0, "the history knows that one");
}

#[test]
fn a_scrape_tells_what_is_under_way() {
    let scene = ScrapedScene::new();
    let build = scene.world.build();
    let gate = build.gate(HookName::WarmUp);
    scene.reference.configure_build(&build);
    let (_, samples) = scene.reference.swap_held_json(&gate, || {
        until("it is under way for a second", || scene.sample("handoff_under_way_seconds") >= 1.0);
        scene.scrape()
    });
    assert!(samples.contains_key(r#"handoff_supervisor_activity{activity="swapping"}"#), "{samples:?}");
    assert_eq!(sample(&samples, "handoff_daemon_serving"), 1.0, "the old daemon does");
    assert_eq!(scene.sample("handoff_under_way_seconds"), 0.0);
}

#[test]
fn a_daemon_that_is_silent_is_told_as_one_that_does_not_serve() {
    let scene = ScrapedScene::new();
    let daemon = scene.world.assert_one_serves(&[scene.reference.pid().unwrap()]);
    processes::send(daemon, Signal::SIGSTOP);
    assert_eq!(scene.sample("handoff_daemon_serving"), 0.0);
    processes::send(daemon, Signal::SIGCONT);
    until("it answers again", || scene.sample("handoff_daemon_serving") == 1.0);
}

#[test]
fn peers_that_flood_delay_neither_a_swap_nor_a_scrape() {
    let scene = ScrapedScene::new();
    let silent: Vec<TcpStream> = (0..100).map(|_| scene.connect()).collect();
    for mut garbage in silent.iter().step_by(2) {
        // Those that made room for others are gone by now.
        let _ = garbage.write_all(&[b'x'; 9000]);
    }
    assert_eq!(scene.sample("handoff_daemon_serving"), 1.0);
    assert_eq!(scene.reference.ask_json("swap").0, 0);
    assert_eq!(scene.sample("handoff_handoffs_total"), 1.0);
    drop(silent);
}

/// Returns how often the thread `name` of the process `pid` has been woken.
fn wake_ups(pid: u32, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
    let thread =
        threads.into_iter().find(|thread| fs::read_to_string(thread.join("comm")).unwrap().trim() == name);
    let status = fs::read_to_string(thread.expect("the thread").join("status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn without_a_scraper_its_thread_sleeps() {
    let scene = ScrapedScene::new();
    let supervisor = scene.reference.pid().unwrap();
    scene.scrape();
    // Longer than any limit that a peer has.
    until("three seconds pass without a wake-up", || {
        let before = wake_ups(supervisor, "metrics");
        thread::sleep(Duration::from_secs(3));
        wake_ups(supervisor, "metrics") == before
    });
    let before = wake_ups(supervisor, "metrics");
    scene.scrape();
    assert!(wake_ups(supervisor, "metrics") > before, "what is counted is its wake-ups");
}

#[test]
fn metrics_at_a_unix_socket_are_answered_and_the_path_is_removed_in_the_end() {
    let world = World::new();
    let path = world.layout().dir().join("metrics");
    let reference = reference(&world, &format!("unix:{}", path.display()));
    reference.start();
    assert_eq!(sample(&scrape(UnixStream::connect(&path).unwrap()), "handoff_daemon_serving"), 1.0);
    reference.kill();
    reference.start();
    assert_eq!(sample(&scrape(UnixStream::connect(&path).unwrap()), "handoff_daemon_serving"), 1.0);
    reference.signal(Signal::SIGTERM);
    assert_eq!(reference.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn an_address_that_is_taken_keeps_no_supervisor_from_its_daemon_and_is_told() {
    let world = World::new();
    let addr = free_address();
    let taken = TcpListener::bind(&addr).unwrap();
    let reference = reference(&world, &addr);
    reference.start();
    let (code, status) = reference.ask_json("status");
    assert_eq!(code, 0);
    let warning = status["warnings"][0].as_str().unwrap();
    assert!(warning.contains(&addr) && warning.contains("metrics"), "{warning}");
    assert_eq!(reference.ask_json("swap").0, 0);
    drop(taken);
}
