//! The journal's file, damaged in every way.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handoff::data::Data;
use handoff::id::{BootId, HandoffId, InBoot, ProcessId};
use handoff::journal::{Binary, FileIdentity, Journal, MAGIC, Running, SLOT_SIZE, UnderWay};
use handoff::slots;
use handoff::unix::journal::{JournalFile, Recovered};
use handoff::unix::pid::{boot_id, start_time_of};
use handoff::{Error, RecoverySpec, Supervisor};
use nix::libc;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    (dir, path)
}

fn binary(number: u8) -> Binary {
    let changed = i64::from(number);
    let identity = FileIdentity { dev: 1, ino: 2, size: 3, changed_secs: changed, changed_nanos: 4 };
    Binary {
        handoff_id: HandoffId([number; 16]),
        path: b"/usr/bin/kv".into(),
        args: vec![b"--port".into(), b"1".into()],
        working_dir: Some(b"/var".to_vec()),
        identity: Some(identity),
    }
}

fn journal(number: u8) -> Journal {
    let process = ProcessId { pid: number.into(), start_time: 99 };
    Journal {
        running: Some(Running { process, build_id: vec![number; 3], is_committed: true }),
        committed: Some(binary(number)),
        previous: Some(binary(number + 1)),
        under_way: Some(UnderWay {
            handoff_id: HandoffId([number; 16]),
            incumbent: None,
            successor: process,
            binary: binary(number + 2),
            retiring: true,
        }),
        stopped: false,
        data: Data::opened(BootId([number; 16]), None, &[number.into()]),
        written_at_unix_ms: 1,
    }
}

fn recover(path: &Path) -> Recovered {
    JournalFile::open(path).unwrap().1
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns what two writes leave.
fn written(path: &Path) -> Vec<u8> {
    let (mut file, _) = JournalFile::open(path).unwrap();
    file.write(&journal(1)).unwrap();
    file.write(&journal(2)).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn the_last_write_is_what_the_next_supervisor_finds() {
    let (dir, path) = place();
    let (mut file, recovered) = JournalFile::open(&path).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(fs::metadata(&path).unwrap().len(), 2 * SLOT_SIZE as u64);
    for number in 1..=5 {
        file.write(&journal(number)).unwrap();
        // Read as after a crash: the file's bytes, elsewhere.
        let copy = dir.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(recover(&copy), Recovered { journal: journal(number), ..Recovered::default() });
    }
    fs::remove_file(dir.path().join("copy")).unwrap();
    drop(file);
    assert_eq!(recover(&path).journal, journal(5));
    assert_eq!(names(&dir), ["journal"]);
}

#[test]
fn whatever_is_cut_or_flipped_is_found_whole_or_reported() {
    let (dir, path) = place();
    let whole = written(&path);
    let length = 40 + whole[16..20].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let damaged = dir.path().join("damaged");
    let check = |bytes: &[u8], what: &str| {
        fs::write(&damaged, bytes).unwrap();
        let Recovered { journal: found, reports, .. } = recover(&damaged);
        let kept = found == journal(2) || (found == journal(1) && !reports.is_empty());
        assert!(kept || (found == Journal::default() && reports.len() == 1), "{what}: {found:?} {reports:?}");
    };
    // Lengths around everything that matters; the slots' own tests try all of them.
    for cut in (0..length).step_by(7).chain((0..length).step_by(5).map(|at| SLOT_SIZE + at)) {
        check(&whole[..cut], &format!("cut to {cut}"));
    }
    for bit in (0..length * 8).step_by(11).chain((0..length * 8).step_by(13).map(|at| SLOT_SIZE * 8 + at)) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(&bytes, &format!("bit {bit}"));
    }
}

#[test]
fn what_cannot_be_used_is_set_aside_and_never_overwritten() {
    let (dir, path) = place();
    let mut newer = written(&path);
    newer[SLOT_SIZE + 7] = b'9';
    let mut older = written(&path);
    [7, SLOT_SIZE + 7].into_iter().for_each(|version| older[version] = b'3');
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (b"[journal]\nformat = \"toml\"\n", "not a file of this kind"),
        (&[0xff; 1 << 20], "not a file of this kind"),
        (&[0; 2 * SLOT_SIZE], "no slot was ever written"),
        (&newer, "written in format 9, newer than 4"),
        (&older, "written in format 3, which this version no longer reads"),
    ];
    for (content, words) in cases {
        fs::write(&path, content).unwrap();
        let Recovered { journal, reports, .. } = recover(&path);
        assert_eq!(journal, Journal::default());
        assert!(reports.len() == 1 && reports[0].contains(words), "{reports:?}");
        assert!(reports[0].contains("swap once"), "the remedy is named: {reports:?}");
        assert_eq!(recover(&path), Recovered::default(), "reported once");
    }
    let aside: Vec<_> = names(&dir).into_iter().filter(|name| name != "journal").collect();
    assert!(aside.iter().all(|name| name.starts_with("journal.set-aside-2")), "{aside:?}");
    let mut kept: Vec<_> = aside.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect();
    let mut given: Vec<_> = cases.iter().map(|(content, _)| content.to_vec()).collect();
    kept.sort();
    given.sort();
    assert!(kept == given, "each is there, unchanged");
}

#[test]
fn a_second_supervisor_is_refused_and_told_who_is_there() {
    let (_dir, path) = place();
    let held = JournalFile::open(&path).unwrap();
    let refusal = JournalFile::open(&path).unwrap_err().to_string();
    assert!(refusal.contains(&format!("process {} (unix_journal", std::process::id())), "{refusal}");
    drop(held);
    JournalFile::open(&path).unwrap();
}

#[test]
fn of_many_supervisors_that_start_at_once_one_gets_the_journal() {
    let (dir, path) = place();
    for content in [None, Some("garbage")] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let results = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..8).map(|_| hold(&path, results.path())).collect();
        // The process that got it holds it until all have tried.
        let deadline = Instant::now() + Duration::from_secs(180);
        while names(&results).len() < children.len() {
            assert!(Instant::now() < deadline, "{:?}", names(&results));
            std::thread::sleep(Duration::from_millis(1));
        }
        let got = names(&results).iter().filter(|name| name.starts_with("got")).count();
        for child in &mut children {
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(got, 1, "{:?}", names(&results));
        assert!(!names(&dir).iter().any(|name| name.ends_with(".new")), "{:?}", names(&dir));
    }
}

#[test]
fn a_journal_that_was_removed_is_no_longer_written() {
    let (_dir, path) = place();
    let (mut file, _) = JournalFile::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let other = JournalFile::open(&path).unwrap();
    assert!(file.write(&journal(1)).unwrap_err().to_string().contains("restart the supervisor"));
    drop(other);
}

#[test]
fn a_place_that_cannot_be_written_is_named_with_the_remedy() {
    let (dir, path) = place();
    let refusal = |path: &Path| JournalFile::open(path).unwrap_err().to_string();
    let lost = dir.path().join("missing/journal");
    assert!(
        refusal(&lost).contains("its directory must exist") && refusal(&lost).contains("missing/journal")
    );
    // No user can create a file there, not even root.
    let denied = refusal(Path::new("/proc/journal"));
    assert!(denied.contains("/proc/journal") && denied.contains("be writable"), "{denied}");
    assert!(
        matches!(JournalFile::open("/dev/null"), Err(Error::Untrusted(why)) if why.to_string().contains("not a regular file"))
    );
    assert!(JournalFile::open(dir.path()).is_err());
    // No space: a limit on the size of files makes a small disk.
    let status = helper("create", &path).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(names(&dir), [""; 0], "nothing is left of the try");
}

#[test]
fn a_value_that_is_too_long_is_refused_and_the_last_one_stays() {
    let (_dir, path) = place();
    let (mut file, _) = JournalFile::open(&path).unwrap();
    file.write(&journal(1)).unwrap();
    let long = Binary { path: vec![b'x'; SLOT_SIZE], ..binary(2) };
    assert!(file.write(&Journal { committed: Some(long), ..journal(2) }).is_err());
    drop(file);
    assert_eq!(recover(&path), Recovered { journal: journal(1), ..Recovered::default() });
}

const TASK: &str = "JOURNAL_TEST_TASK";
const PATH: &str = "JOURNAL_TEST_PATH";

const RESULTS: &str = "JOURNAL_TEST_RESULTS";

fn helper(task: &str, path: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["helper_process", "--exact", "--test-threads=1", "--quiet"])
        .env(TASK, task)
        .env(PATH, path);
    command.stdout(Stdio::null());
    command
}

fn hold(path: &Path, results: &Path) -> Child {
    helper("hold", path).env(RESULTS, results).stdin(Stdio::piped()).spawn().unwrap()
}

/// Not a test but a process that the tests start.
#[test]
fn helper_process() {
    let Ok(task) = env::var(TASK) else { return };
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    match &task[..] {
        "hold" => {
            let opened = JournalFile::open(&path);
            let word = if opened.is_ok() { "got" } else { "refused" };
            let result =
                Path::new(&env::var_os(RESULTS).unwrap()).join(format!("{word}.{}", std::process::id()));
            fs::write(result, "").unwrap();
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        _ => {
            limit_files(64 * 1024);
            let refusal = JournalFile::open(&path).unwrap_err();
            assert!(refusal.to_string().contains("256 KiB free"), "{refusal}");
        }
    }
}

/// Writes beyond `bytes` fail with EFBIG.
#[allow(unsafe_code)]
fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is a valid rlimit, and to ignore a signal needs no handler.
    unsafe {
        assert_ne!(libc::signal(libc::SIGXFSZ, libc::SIG_IGN), libc::SIG_ERR);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

/// After a reboot, pid and start time in the journal may be those of a stranger that leads a group of its own.
#[test]
fn a_process_of_another_boot_is_neither_waited_for_nor_ended() {
    let (dir, path) = place();
    let mut stranger = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let start_time = start_time_of(stranger.id()).unwrap().unwrap();
    let process = ProcessId { pid: stranger.id(), start_time };
    let running = Some(Running { process, build_id: Vec::new(), is_committed: true });
    let under_way =
        journal(1).under_way.map(|under_way| UnderWay { successor: process, retiring: false, ..under_way });
    let value = Journal { running, under_way, ..journal(1) };
    for (boot, is_believed) in [(BootId([7; 16]), false), (BootId::default(), false), (boot_id(), true)] {
        let slot = slots::encode_slot(MAGIC, 1, &InBoot { boot, value: value.clone() }, SLOT_SIZE).unwrap();
        let mut file = slot;
        file.resize(2 * SLOT_SIZE, 0);
        fs::write(&path, file).unwrap();
        assert_eq!(recover(&path).is_of_another_boot, !is_believed);
        if is_believed {
            continue;
        }
        let supervisor = Supervisor::new(dir.path().join("control")).unwrap().with_journal(&path).unwrap();
        assert!(!supervisor.was_stopped(), "what was committed is to be started again");
        let limit = Duration::from_millis(100);
        let mut spec = RecoverySpec::default();
        (spec.unreachable_limit, spec.liveness) = (limit, limit);
        (spec.retire_limit, spec.deadline) = (limit, limit);
        let outcome = supervisor.recover(&spec).unwrap();
        assert!(outcome.nobody_serves && outcome.killed.is_empty() && outcome.left.is_empty(), "{outcome:?}");
        assert!(outcome.interrupted.is_some(), "it is said what was under way");
        assert!(supervisor.last_committed().is_some());
        assert_eq!(stranger.try_wait().unwrap(), None, "the stranger lives");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
