//! The content of a disk after a power failure: the simulated disk, and ext4 on a device that is cut off.
//!
//! A story is a list of what was done to files. What is left is told with a letter for each run of equal bytes: `a=o` is a
//! file with what was written first, whole; `n~o~` one with a part of a later write over it.
use std::collections::{BTreeMap, BTreeSet};

use handoff_tests::raw::Cut;

use crate::arms::assert_listed;
use crate::ext4;
#[cfg(feature = "sim")]
use handoff_sim::kernel::Bare;

/// So many bytes a write has: two pages.
pub(crate) const LENGTH: usize = 2 * PAGE;
pub(crate) const PAGE: usize = 4096;

/// The step that is done to the files of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DiskStep {
    /// [`LENGTH`] of this letter at the end of a file.
    Append(&'static str, char),
    /// The same, at its beginning.
    Overwrite(&'static str, char),
    /// The kernel writes the first page of a file to the device, of its own accord.
    WriteBack(&'static str),
    Empty(&'static str),
    Sync(&'static str),
    SyncDir,
    Rename(&'static str, &'static str),
    Remove(&'static str),
}

use DiskStep::{Append, Empty, Overwrite, Remove, Rename, Sync, SyncDir, WriteBack};

/// Files and their bytes, in words.
pub(crate) fn words(files: &BTreeMap<String, Vec<u8>>) -> String {
    let file = |(name, bytes): (&String, &Vec<u8>)| {
        let runs = bytes.chunk_by(|a, b| a == b).map(|run| {
            let letter = if run[0] == 0 { '0' } else { char::from(run[0]) };
            format!("{letter}{}", if run.len() == LENGTH { "" } else { "~" })
        });
        format!("{name}={}", runs.collect::<String>())
    };
    files.iter().map(file).collect::<Vec<_>>().join(" ")
}

/// Power fails after `steps`. Nothing but `may_be_left` is left, on either arm; Linux leaves nothing that the simulated disk
/// could not. `why` the protocol, or a daemon on it, rests on that.
#[track_caller]
fn power_fails(why: &str, steps: &'static [DiskStep], may_be_left: &[&str]) {
    let mut arms: Vec<(String, String)> = Vec::new();
    for (cut, left) in ext4::left_by(steps) {
        arms.push((format!("ext4, cut off: {cut:?}"), left));
    }
    let linux: BTreeSet<String> = arms.iter().map(|(_, left)| left.clone()).collect();
    #[cfg(feature = "sim")]
    let simulated: BTreeSet<String> = (0..2000).map(|seed| simulated(steps, seed)).collect();
    #[cfg(not(feature = "sim"))]
    let simulated = linux.clone();
    arms.extend(simulated.iter().map(|left| ("the simulated disk".to_string(), left.clone())));
    let broken = arms.iter().find(|(_, left)| !may_be_left.contains(&&left[..]));
    let unmet = linux.difference(&simulated).next();
    if broken.is_some() || unmet.is_some() {
        let arms: String = arms.iter().map(|(arm, left)| format!("{arm}: {left:?}\n")).collect();
        panic!(
            "the disks differ, or one does not keep what was promised.\nwhy it matters: {why}\n\
             after {steps:?}\nthere may be left: {may_be_left:?}\n\
             against that: {broken:?}; not simulated: {unmet:?}\n{arms}"
        );
    }
}

#[cfg(feature = "sim")]
fn simulated(steps: &[DiskStep], seed: u64) -> String {
    let mut machine = Bare::new(seed);
    let pid = machine.spawn();
    let disk = machine.disk(pid);
    for step in steps {
        match *step {
            Append(name, letter) => disk.append(name, &[letter as u8; LENGTH]),
            Overwrite(name, letter) => disk.write_at(name, 0, &[letter as u8; LENGTH]),
            WriteBack(_) => Ok(()),
            Empty(name) => disk.truncate(name, 0),
            Sync(name) => disk.sync(name),
            SyncDir => disk.sync_dir(),
            Rename(from, to) => disk.rename(from, to),
            Remove(name) => disk.remove(name),
        }
        .unwrap();
    }
    machine.lose_power();
    let survivor = machine.spawn();
    let disk = machine.disk(survivor);
    words(&disk.list().into_iter().map(|name| (name.clone(), disk.read(&name).unwrap())).collect())
}

#[test]
fn what_was_synced_with_its_name_is_there() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir];
    power_fails("a journal that was written is what a supervisor knows", steps, &["a=o"]);
}

#[test]
fn of_what_was_not_synced_anything_may_be_there_behind_what_was() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Append("a", 'n')];
    power_fails(
        "only what is synced may be acknowledged as durable",
        steps,
        &["a=o", "a=on~", "a=on", "a=on~0~", "a=o0"],
    );
}

#[test]
fn a_new_file_whose_name_was_not_synced_may_be_absent() {
    let steps = &[Append("a", 'o'), Sync("a")];
    power_fails("a file is durable when its directory is", steps, &["", "a=o"]);
}

#[test]
fn a_new_file_of_which_only_the_name_was_synced_may_be_empty() {
    let steps = &[Append("a", 'o'), SyncDir];
    power_fails("a name is no content", steps, &["a=", "a=o~", "a=o", "a=o~0~", "a=0"]);
}

#[test]
fn a_rename_whose_directory_was_not_synced_may_be_undone() {
    let steps = &[Append("a", 'o'), Append("b", 'n'), Sync("a"), Sync("b"), SyncDir, Rename("b", "a")];
    power_fails("after a rename the directory is to be synced", steps, &["a=o b=n", "a=n"]);
}

#[test]
fn a_file_replaced_by_a_rename_is_the_old_or_the_new_one_whole() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Append("b", 'n'), Sync("b"), Rename("b", "a")];
    power_fails("a file is replaced in one step", steps, &["a=o", "a=o b=n", "a=n"]);
    let steps =
        &[Append("a", 'o'), Sync("a"), SyncDir, Append("b", 'n'), Sync("b"), Rename("b", "a"), SyncDir];
    power_fails("and when the directory is synced, it is the new one", steps, &["a=n"]);
}

#[test]
fn a_file_that_replaced_another_before_it_was_synced_may_be_empty_or_zeros() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Append("b", 'n'), Rename("b", "a"), SyncDir];
    power_fails("sync first, then rename", steps, &["a=", "a=n~", "a=n", "a=n~0~", "a=0"]);
}

#[test]
fn what_was_overwritten_and_not_synced_may_be_half_old_and_half_new() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Overwrite("a", 'n'), WriteBack("a")];
    power_fails("a slot that is written in place carries a checksum", steps, &["a=o", "a=n~o~", "a=n"]);
}

#[test]
fn what_was_overwritten_and_synced_is_new() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Overwrite("a", 'n'), Sync("a")];
    power_fails("a slot that was written in place and synced is durable", steps, &["a=n"]);
}

#[test]
fn what_was_removed_may_come_back_until_the_directory_is_synced() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Remove("a")];
    power_fails("a stale file may be found after a power failure", steps, &["", "a=o"]);
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Remove("a"), SyncDir];
    power_fails("and not when it was", steps, &[""]);
}

#[test]
fn a_truncation_that_was_not_synced_may_be_undone() {
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Empty("a")];
    power_fails("a log that is cut is synced before it is written again", steps, &["a=", "a=o"]);
    let steps = &[Append("a", 'o'), Sync("a"), SyncDir, Empty("a"), Sync("a")];
    power_fails("and not when it was", steps, &["a="]);
}

#[test]
fn a_later_file_may_be_there_without_an_earlier_one() {
    let steps = &[Append("a", 'o'), Append("b", 'n'), SyncDir, Sync("b")];
    power_fails(
        "files are durable one by one, in no order",
        steps,
        &["a= b=n", "a=o~ b=n", "a=o b=n", "a=o~0~ b=n", "a=0 b=n"],
    );
}

#[test]
fn what_is_not_staged_on_a_real_disk_is_listed() {
    assert_listed("a failed fsync, a full disk");
    assert_listed("writes that overtake each other in a file");
    let _ = [Cut::AtOnce, Cut::JournalFlushed, Cut::Orderly];
}
