//! The supervisor's configuration.
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use bolero::{TypeGenerator, check};
use handoff_supervisor::config::{Config, Problem};

use crate::{Hostile, INPUTS, Seeds, within};

fn load(dir: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let path = dir.join("handoff.toml");
    std::fs::write(&path, text).unwrap();
    // A key of one letter in a table of its own takes most of it.
    within(512 * text.len() + (1 << 20), || Config::load(&path))
}

fn holds(dir: &Path, text: &str) {
    let loaded = load(dir, text);
    assert_eq!(load(dir, text), loaded, "the same text means the same");
    match loaded {
        Ok(config) => {
            assert!(config.drain_grace <= config.deadline && config.restart_min <= config.restart_max);
            assert_ne!(config.control_socket, config.trigger_socket);
            let names: BTreeSet<_> = config.listeners.iter().map(|listener| &listener.name).collect();
            assert_eq!(names.len(), config.listeners.len());
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for nothing");
            let lines = text.lines().count() + 1;
            problems.iter().for_each(|problem| assert!(problem.line <= lines, "{problem}"));
        }
    }
}

#[test]
fn configurations() {
    let (seeds, dir) = (Seeds::of("config"), tempfile::tempdir().unwrap());
    // Where a seed has its journal.
    std::fs::create_dir(dir.path().join("state")).unwrap();
    for seed in seeds.iter() {
        let text = std::str::from_utf8(seed).unwrap();
        assert_eq!(load(dir.path(), text).err(), None, "{text}");
    }
    check!()
        .with_type::<Hostile>()
        .with_iterations(INPUTS)
        .for_each(|hostile| holds(dir.path(), &String::from_utf8_lossy(&hostile.from(&seeds))));
}

/// A good configuration.
#[derive(Clone, Debug, TypeGenerator)]
struct Good {
    drain_grace: u8,
    more: u8,
    liveness: u8,
    args: Vec<String>,
    uids: Vec<u32>,
    ports: Vec<u16>,
}

#[test]
fn configurations_that_are_good() {
    let dir = tempfile::tempdir().unwrap();
    check!().with_type::<Good>().with_iterations(INPUTS).for_each(|good| {
        let args: Vec<String> = good.args.iter().map(|arg| arg.replace('\0', "")).collect();
        let uids: Vec<u32> = good.uids.iter().map(|uid| uid % u32::MAX).collect();
        let deadline = (u32::from(good.drain_grace) + u32::from(good.more)).max(1);
        let liveness = 50 + u64::from(good.liveness);
        let quoted: Vec<_> = args.iter().map(|arg| toml::Value::String(arg.clone()).to_string()).collect();
        let mut text = format!(
            "control_socket = 'control.sock'\ntrigger_socket = 'trigger.sock'\nbinary = '/bin/sh'\nargs = [{}]\n\
             drain_grace_secs = {}\ndeadline_secs = {deadline}\nliveness_ms = {liveness}\nallowed_uids = {uids:?}\n",
            quoted.join(", "),
            good.drain_grace
        );
        let ports: BTreeSet<u16> = good.ports.iter().map(|port| port.saturating_add(1)).collect();
        for port in &ports {
            text += &format!("[[listeners]]\nname = 'l{port}'\naddr = '127.0.0.1:{port}'\n");
        }
        let config = load(dir.path(), &text).unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"));
        assert_eq!(config.args, args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(config.allowed_uids, uids);
        assert_eq!(config.drain_grace.as_secs(), u64::from(good.drain_grace));
        assert_eq!((config.deadline.as_secs(), config.liveness.as_millis()), (u64::from(deadline), u128::from(liveness)));
        assert_eq!(config.listeners.len(), ports.len());
    });
}
