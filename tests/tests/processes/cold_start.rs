//! A daemon that is started where none serves: which binary it is, and which data it may serve.
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

use handoff_tests::processes::{lives, send};
use handoff_tests::{Bin, Reference, World, free_address, until};
use nix::sys::signal::Signal;

/// The daemon of `reference`, other than `before`, and the name of its build.
#[track_caller]
fn daemon(reference: &Reference, before: u32) -> (u32, String) {
    let mut pid = before;
    until("another daemon serves", || {
        let (_, status) = reference.ask_json("status");
        let found = status["daemon"]["pid"].as_u64().filter(|_| status["activity"] == "watching");
        pid = found.map_or(before, |found| u32::try_from(found).unwrap());
        pid != before
    });
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    (pid, words[words.len() - 2].clone().into_owned())
}

fn end(pid: u32) {
    send(pid, Signal::SIGKILL);
    until("it has ended", || !lives(pid));
}

/// Waits until no daemon serves, and `status` says that the last start failed because of `why`.
#[track_caller]
fn assert_refused(reference: &Reference, why: &str) {
    until("the start is refused", || {
        let (code, status) = reference.ask_json("status");
        let said = status["failed_start"].as_str().unwrap_or_default();
        said.contains(why) && said.contains("accept-data") && code == 4
    });
}

fn make_dir(world: &World, name: &str) -> PathBuf {
    let dir = world.layout().dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    dir
}

#[test]
fn a_supervisor_that_is_started_anew_in_a_pause_starts_what_was_committed() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.add("restart_min_secs = 600\nrestart_max_secs = 1000\n");
    let [committed, configured] = [world.build(), world.build()];
    reference.configure_build(&committed);
    reference.start();
    let (first, name) = daemon(&reference, 0);
    reference.configure_build(&configured);
    end(first);
    let (second, again) = daemon(&reference, first);
    assert_eq!(again, name, "it is started again at once");
    end(second);
    until("the supervisor waits", || reference.ask_json("status").1["activity"] == "backing_off");
    reference.kill();
    reference.launch();
    let (third, again) = daemon(&reference, second);
    assert_eq!(again, name, "nobody has stopped it");
    reference.signal(Signal::SIGTERM);
    reference.wait();
    assert!(!lives(third));
    reference.launch();
    assert_ne!(daemon(&reference, third).1, name, "it was stopped on purpose");
}

/// The data directory is a link, and is pointed elsewhere.
fn switch_data(world: &World, to: &str) {
    let data = world.layout().data();
    let moved = world.layout().dir().join(to);
    match data.is_symlink() {
        true => fs::remove_file(&data).unwrap(),
        false => fs::rename(&data, &moved).unwrap(),
    }
    symlink(&moved, &data).unwrap();
}

#[test]
fn a_daemon_that_opens_another_directory_is_not_served_until_that_is_accepted() {
    let world = World::new();
    switch_data(&world, "one");
    make_dir(&world, "two");
    let reference = Reference::for_actor(&world);
    reference.start();
    let writer = reference.writer();
    let (first, _) = daemon(&reference, 0);
    writer.wait_for_write_by(first);
    switch_data(&world, "two");
    end(first);
    assert_refused(&reference, "another data directory");
    switch_data(&world, "one");
    let (second, _) = daemon(&reference, first);
    writer.wait_for_write_by(second);
    let (code, refused) = reference.ask_json("accept-data");
    assert_eq!(code, 69, "a daemon serves: {refused}");
    world.assert_one_serves(&[reference.pid().unwrap()]);
    drop(writer);
    switch_data(&world, "two");
    end(second);
    assert_refused(&reference, "another data directory");
    // A supervisor that comes anew knows it as well.
    reference.kill();
    reference.launch();
    assert_refused(&reference, "another data directory");
    until("they are accepted", || reference.ask_json("accept-data").0 == 0);
    let (third, _) = daemon(&reference, second);
    end(third);
    daemon(&reference, third);
}

#[test]
fn a_daemon_that_is_behind_what_was_served_is_not_served_until_that_is_accepted() {
    let world = World::new();
    let reference = Reference::for_actor(&world);
    reference.start();
    let writer = reference.writer();
    let (first, _) = daemon(&reference, 0);
    writer.wait_for_write_by(first);
    assert_eq!(reference.ask_json("swap").0, 0);
    let (second, _) = daemon(&reference, first);
    drop(writer);
    fs::remove_file(world.layout().log()).unwrap();
    end(second);
    assert_refused(&reference, "behind");
    until("they are accepted", || reference.ask_json("accept-data").0 == 0);
    daemon(&reference, second);
}

/// Returns what a key-value server says to one request.
fn ask(addr: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let words: Vec<&str> = request.split(' ').collect();
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    let count = request.split(' ').count();
    stream.write_all(format!("*{count}\r\n{words}").as_bytes()).unwrap();
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn a_relative_path_leads_to_the_same_data_wherever_the_supervisor_is_started() {
    let world = World::new();
    let [here, there] = ["here", "there"].map(|name| make_dir(&world, name));
    let resp = free_address();
    let reference = Reference::new(&world, &[("resp", resp.clone()), ("http", free_address())]);
    let control = world.layout().control().display().to_string();
    reference.configure(&Bin::Kv.path(), &["--data", "data", "--control", &control, "--map-size-mb", "64"]);
    reference.launch_in(&here);
    let (first, _) = daemon(&reference, 0);
    assert_eq!(ask(&resp, "SET k v"), "+OK\r\n");
    reference.kill();
    reference.launch_in(&there);
    reference.wait_until_watching();
    end(first);
    let (second, _) = daemon(&reference, first);
    assert_eq!(ask(&resp, "GET k"), "$1\r\nv\r\n", "it was started where it had been started before");
    assert!(!there.join("data").exists());
    // What is configured is started where the supervisor is: and refused, if there are other data.
    reference.signal(Signal::SIGTERM);
    reference.wait();
    assert!(!lives(second));
    reference.launch_in(&there);
    assert_refused(&reference, "another data directory");
    reference.kill();
    reference.launch_in(&here);
    daemon(&reference, second);
    assert_eq!(ask(&resp, "GET k"), "$1\r\nv\r\n");
}
