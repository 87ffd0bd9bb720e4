//! The things that a reader needs to understand a test that has failed: printed when it panics, before
//! anything of its world is over.
use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::fs;
use std::panic;
use std::path::Path;
use std::sync::Once;

use handoff::id::InBoot;
use handoff::journal::{self, Journal};
use handoff::record::{self, Record};
use handoff::slots::{Magic, decode_slots, describe};
use serde::de::DeserializeOwned;

use crate::layout::Layout;
use crate::processes;

/// More of a log is not printed; all of it is in the world's directory, which is kept.
const LINES: usize = 2000;

thread_local! {
    /// The worlds that the tests on this thread have made and that are not over.
    static WORLDS: RefCell<Vec<Layout>> = const { RefCell::new(Vec::new()) };
}

/// From here on a panic of this thread tells of the world in `layout`.
pub(crate) fn begins(layout: &Layout) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            usual(info);
            let worlds = WORLDS.try_with(|worlds| worlds.try_borrow().map(|all| all.clone()));
            for layout in worlds.ok().and_then(Result::ok).unwrap_or_default() {
                eprintln!("{}", of(&layout));
            }
        }));
    });
    WORLDS.with(|worlds| worlds.borrow_mut().push(layout.clone()));
}

/// The world in `layout` is over.
pub(crate) fn ends(layout: &Layout) {
    let is_other = |other: &Layout| other.dir() != layout.dir();
    let _ = WORLDS.try_with(|worlds| worlds.borrow_mut().retain(is_other));
}

/// Everything about the world in `layout`, as it is now.
fn of(layout: &Layout) -> String {
    let mut text = format!("---- the world in {} ----\n", layout.dir().display());
    let _ = writeln!(text, "---- its processes ----");
    for pid in processes::of_world(layout) {
        let _ = writeln!(text, "{pid} {}", processes::described(pid));
    }
    for (what, path) in
        [("the data directory's lock", layout.data()), ("the journal's lock", layout.journal())]
    {
        let holders = if path.exists() { processes::lock_holders(&path) } else { Vec::new() };
        let _ = writeln!(text, "---- {what} is held by {holders:?} ----");
    }
    let paths = ["run", "data", "script"].map(|sub| names(&layout.dir().join(sub)));
    let _ = writeln!(text, "---- files in run, data and script ----\n{paths:?}");
    text += &decoded::<InBoot<Journal>>("journal", &layout.journal(), journal::MAGIC, journal::SLOT_SIZE);
    text += &decoded::<InBoot<Record>>("record", &layout.record(), record::MAGIC, record::SLOT_SIZE);
    let log = String::from_utf8_lossy(&fs::read(layout.output()).unwrap_or_default()).into_owned();
    let all: Vec<&str> = log.lines().collect();
    let last = &all[all.len().saturating_sub(LINES)..];
    let _ = writeln!(text, "---- the log, {} of {} lines ----", last.len(), all.len());
    text + &last.join("\n")
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    names
}

/// Returns what the newest slot of the file at `path` says, and what is wrong with the others.
fn decoded<T: DeserializeOwned + Debug>(what: &str, path: &Path, magic: Magic, slot_size: usize) -> String {
    let Ok(bytes) = fs::read(path) else { return format!("---- there is no {what} ----\n") };
    let slots = decode_slots::<T>(&bytes, magic, slot_size);
    format!("---- the {what} ----\n{:?}\n{}\n", slots.newest, describe(&slots.problems))
}
