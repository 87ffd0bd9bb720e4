//! The lock and the record beside it, with real processes.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]
#![allow(unsafe_code)]

use std::env;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use handoff::id::{BootId, Fingerprint, InBoot, ProcessId};
use handoff::record::{MAGIC, Record, SLOT_SIZE};
use handoff::slots::{self, SlotFault};
use handoff::unix::record_file::{NAME, RecordFile};
use handoff::{DataDir, DataDirLock, Error};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use tempfile::TempDir;

const DIR: &str = "LOCK_TEST_DIR";

/// Not a test but a process that takes the lock, says whether it got it, and holds it until its stdin ends.
#[test]
fn holder_process() {
    let Some(dir) = env::var_os(DIR) else { return };
    let mut lock = DataDirLock::open(dir).unwrap();
    let got = lock.try_lock().unwrap();
    let mut stderr = std::io::stderr();
    stderr.write_all(if got { b"y" } else { b"n" }).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn private_directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A process that tried the lock, and whether it got it.
fn other(dir: &Path) -> (Child, bool) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["holder_process", "--exact", "--test-threads=1", "--quiet", "--nocapture"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    (child, said == *b"y")
}

fn leave(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn of_two_processes_one_holds_the_lock() {
    let dir = private_directory();
    let mut lock = DataDirLock::open(dir.path()).unwrap();
    assert!(!lock.is_held());
    assert_eq!(lock.holder(), None);
    let (first, got) = other(dir.path());
    assert!(got && !lock.try_lock().unwrap() && !lock.is_held());
    let holder = lock.holder().unwrap();
    assert_eq!(holder.pid, first.id());
    assert!(holder.to_string().contains("unix_lock"), "the kernel knows its program: {holder}");
    leave(first);
    assert!(lock.try_lock().unwrap() && lock.try_lock().unwrap() && lock.is_held());
    let (second, got) = other(dir.path());
    assert!(!got);
    leave(second);
    lock.unlock().unwrap();
    assert!(!lock.is_held());
    let (third, got) = other(dir.path());
    assert!(got);
    leave(third);
}

#[test]
fn a_killed_holder_leaves_no_lock() {
    let dir = private_directory();
    let (mut holder, got) = other(dir.path());
    assert!(got);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(DataDirLock::open(dir.path()).unwrap().try_lock().unwrap());
}

#[test]
fn unlocking_frees_the_lock_though_a_forked_child_has_the_descriptor() {
    let dir = private_directory();
    let (mut waiting, mut go_on) = std::io::pipe().unwrap();
    let mut lock = DataDirLock::open(dir.path()).unwrap();
    assert!(lock.try_lock().unwrap());
    // SAFETY: the child only reads from a pipe and exits.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let mut byte = 0_u8;
            // SAFETY: as above. Without its copy of the other end, it reads the end of the file when we die.
            unsafe {
                nix::libc::close(std::os::fd::AsRawFd::as_raw_fd(&go_on));
                nix::libc::read(std::os::fd::AsRawFd::as_raw_fd(&waiting), (&raw mut byte).cast(), 1);
                nix::libc::_exit(0)
            }
        }
        ForkResult::Parent { child } => child,
    };
    let (refused, got) = other(dir.path());
    assert!(!got);
    leave(refused);
    lock.unlock().unwrap();
    let (second, got) = other(dir.path());
    assert!(got, "the child still has the descriptor");
    leave(second);
    go_on.write_all(b"x").unwrap();
    waitpid(child, None).unwrap();
    drop(waiting.read(&mut []));
}

#[test]
fn no_file_in_the_directory_matters_to_the_lock() {
    let dir = private_directory();
    let data = dir.path().join("data");
    RecordFile::open(&DataDir::create(&data).unwrap()).unwrap();
    let mut lock = DataDirLock::open(&data).unwrap();
    assert!(lock.try_lock().unwrap());
    for entry in fs::read_dir(&data).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let (refused, got) = other(&data);
    assert!(!got, "it was emptied, and still is the same directory");
    leave(refused);
    // Moved, it takes its lock along; what is at its old place is another directory, with other data.
    let moved = dir.path().join("moved");
    fs::rename(&data, &moved).unwrap();
    DataDir::create(&data).unwrap();
    for (place, free) in [(&moved, false), (&data, true)] {
        let (process, got) = other(place);
        assert_eq!(got, free);
        leave(process);
    }
}

#[test]
fn a_directory_that_others_may_open_is_refused_and_the_named_command_mends_it() {
    let dir = private_directory();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    for mode in [0o755, 0o705, 0o704, 0o770, 0o702, 0o1777] {
        fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        // The group may be root's own, of which no other user is a member.
        let belongs_to_group = mode & 0o7 == 0;
        std::os::unix::fs::chown(&data, None, belongs_to_group.then_some(65_533)).ok();
        let refusal = DataDir::open(&data).unwrap_err();
        assert!(matches!(refusal, Error::Untrusted(_)), "{mode:o}: {refusal}");
        let text = refusal.to_string();
        let command = text.split(": ").last().unwrap().split(" (for systemd").next().unwrap();
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        let still = DataDir::open(&data).err().map(|error| error.to_string());
        // The right to write is told first; the second command then is about the right to read.
        assert!(
            still.as_ref().is_none_or(|still| command.contains("go-w") && still.contains("go-rwx")),
            "{still:?}"
        );
    }
    // To pass through a directory is not to open it.
    fs::set_permissions(&data, Permissions::from_mode(0o711)).unwrap();
    assert!(DataDirLock::open(&data).unwrap().try_lock().unwrap());
}

#[test]
fn a_path_that_leads_elsewhere_by_now_is_no_place_for_the_lock() {
    let dir = private_directory();
    let [one, two, link] = ["one", "two", "link"].map(|name| dir.path().join(name));
    let (first, _second) = (DataDir::create(&one).unwrap(), DataDir::create(&two).unwrap());
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let mut lock = DataDirLock::open(&link).unwrap();
    assert!(lock.try_lock().unwrap());
    lock.unlock().unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();
    let refusal = lock.try_lock().unwrap_err().to_string();
    assert!(refusal.contains("another one") && refusal.contains(&one.display().to_string()), "{refusal}");
    assert!(!lock.is_held() && DataDirLock::of(first).try_lock().unwrap(), "nothing was locked");
    // What is opened by the handle lies in what was opened.
    fs::write(lock.dir().path().join("written"), "").unwrap();
    assert!(one.join("written").exists() && !two.join("written").exists());
}

#[test]
fn a_missing_directory_is_named_with_the_remedy() {
    let dir = private_directory();
    let missing = dir.path().join("data");
    let refusal = DataDirLock::open(&missing).unwrap_err().to_string();
    assert!(refusal.contains(&format!("mkdir -m 700 {}", missing.display())), "{refusal}");
    fs::write(&missing, "").unwrap();
    assert!(DataDirLock::open(&missing).is_err(), "a file is no directory");
    let gone = DataDir::create(dir.path().join("gone")).unwrap();
    fs::remove_dir(dir.path().join("gone")).unwrap();
    assert!(RecordFile::open(&gone).unwrap_err().to_string().contains("writable"));
}

fn record_file(dir: &Path) -> RecordFile {
    RecordFile::open(&DataDir::open(dir).unwrap()).unwrap()
}

fn record(generation: u64) -> Record {
    let holder = ProcessId { pid: generation as u32, start_time: generation };
    Record {
        generation,
        holder,
        sealed_for: Some(holder),
        serving: generation.is_multiple_of(2),
        revisions: vec![generation; 100],
        fingerprint: Fingerprint::default(),
    }
}

#[test]
fn the_record_is_what_was_written_last() {
    let dir = private_directory();
    let file = record_file(dir.path());
    assert_eq!(file.read().unwrap(), (None, vec![]));
    for generation in 1..=5 {
        file.write(&record(generation)).unwrap();
        let reopened = record_file(dir.path());
        assert_eq!(reopened.read().unwrap(), (Some(record(generation)), vec![]));
    }
    let metadata = fs::metadata(dir.path().join(NAME)).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (32 * 1024, 0o600));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    let wide = Record { revisions: vec![0; 3_000], ..record(6) };
    assert_eq!(file.write(&wide).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(file.read().unwrap().0, Some(record(5)));
}

#[test]
fn a_record_that_was_removed_or_damaged_is_written_anew() {
    let dir = private_directory();
    let path = dir.path().join(NAME);
    let file = record_file(dir.path());
    file.write(&record(1)).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(file.read().unwrap(), (None, vec![]));
    file.write(&record(2)).unwrap();
    assert_eq!(file.read().unwrap().0, Some(record(2)));
    fs::write(&path, "garbage").unwrap();
    let (read, problems) = file.read().unwrap();
    assert_eq!((read, problems[0].fault.clone()), (None, SlotFault::Torn));
    file.write(&record(3)).unwrap();
    assert_eq!(file.read().unwrap().0, Some(record(3)));
}

#[test]
fn a_torn_write_leaves_the_record_before_it() {
    let dir = private_directory();
    let path = dir.path().join(NAME);
    let file = record_file(dir.path());
    for generation in 1..=4 {
        file.write(&record(generation)).unwrap();
    }
    let mut bytes = fs::read(&path).unwrap();
    // The second write and the fourth went to the second slot.
    bytes[16 * 1024 + 100..][..100].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let (read, problems) = file.read().unwrap();
    assert_eq!((read, problems[0].fault.clone()), (Some(record(3)), SlotFault::Checksum));
    file.write(&record(5)).unwrap();
    assert_eq!(file.read().unwrap(), (Some(record(5)), vec![]));
}

#[test]
fn whoever_reads_without_the_lock_sees_whole_records() {
    let dir = private_directory();
    let file = record_file(dir.path());
    file.write(&record(1)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut reads) = (1, 0);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let read = file.read().unwrap().0.unwrap();
                assert_eq!(read, record(read.generation));
                assert!(read.generation >= last);
                (last, reads) = (read.generation, reads + 1);
            }
        });
        for generation in 2..3_000 {
            file.write(&record(generation)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_record_of_another_boot_says_nothing() {
    let dir = private_directory();
    let file = record_file(dir.path());
    let value = record(1);
    let slot = slots::encode_slot(MAGIC, 1, &InBoot { boot: BootId([7; 16]), value }, SLOT_SIZE).unwrap();
    let mut bytes = slot;
    bytes.resize(2 * SLOT_SIZE, 0);
    fs::write(dir.path().join(NAME), bytes).unwrap();
    assert_eq!(file.read().unwrap(), (None, vec![]));
    file.write(&record(2)).unwrap();
    assert_eq!(file.read().unwrap().0, Some(record(2)));
}
