use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A history in a directory of its own.
struct KeptHistory {
    dir: tempfile::TempDir,
}

impl KeptHistory {
    fn new() -> KeptHistory {
        KeptHistory { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        path_beside(&self.dir.path().join("journal"))
    }

    /// A supervisor that begins, adds the swaps `ids`, and ends.
    fn add(&self, ids: impl IntoIterator<Item = usize>) {
        let mut history = SwapHistory::beside(&self.dir.path().join("journal"), SupervisorMetrics::default());
        ids.into_iter().for_each(|id| history.add(entry(id, "")));
    }

    fn ids(&self) -> Vec<usize> {
        let entries = read(&self.path()).unwrap();
        entries.iter().map(|entry| entry.report.handoff_id.parse().unwrap()).collect()
    }
}

fn entry(id: usize, reason: &str) -> HistoryEntry {
    let report = SwapReport {
        outcome: SwapOutcome::RolledBack,
        committed: false,
        reason: Some(reason.into()),
        reason_name: Some("unhealthy".into()),
        resumed_confirmed: true,
        handoff_id: id.to_string(),
        binary: "/bin/d".into(),
        build_id: Some("blue".into()),
        pid: None,
        phases_ms: PhasesMs::new(|_| 0.5, 4.0),
        pause_ms: 2.5,
        connections_left: 1,
        warnings: vec!["odd".into()],
    };
    HistoryEntry::new(&report, None)
}

#[test]
fn what_is_added_is_read_again_by_a_later_supervisor() {
    let kept = KeptHistory::new();
    assert!(read(&kept.path()).unwrap().is_empty(), "there is no file yet");
    kept.add([1, 2]);
    kept.add([3]);
    assert_eq!(kept.ids(), [1, 2, 3]);
    let history = SwapHistory::beside(&kept.dir.path().join("journal"), SupervisorMetrics::default());
    let last = history.last_swap().unwrap();
    assert_eq!((&last.report, last.ended_secs_ago < 60.0), (&entry(3, "").report, true));
    assert_eq!(fs::metadata(kept.path()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn it_is_bounded_and_the_last_ones_stay() {
    let kept = KeptHistory::new();
    kept.add(0..LINES_MAX + 50);
    assert_eq!(kept.ids(), (LINES_MAX + 50 - SHOWN..LINES_MAX + 50).collect::<Vec<_>>());
    let lines = fs::read_to_string(kept.path()).unwrap().lines().count();
    assert_eq!(lines, SHOWN + 49, "those before were left out when there were too many");
    assert_eq!(fs::read_dir(kept.dir.path()).unwrap().count(), 1, "no draft is left");
    assert_eq!(fs::metadata(kept.path()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_line_that_was_torn_and_one_of_another_kind_are_passed_over() {
    let kept = KeptHistory::new();
    kept.add([1]);
    let mut text = fs::read(kept.path()).unwrap();
    text.extend_from_slice(b"{}\n\xff\n{\"ended_at\":\"2026-");
    fs::write(kept.path(), text).unwrap();
    assert_eq!(kept.ids(), [1]);
    kept.add([2]);
    assert_eq!(kept.ids(), [1, 2], "what was torn does not spoil the next one");
}

#[test]
fn what_can_not_be_written_or_is_too_long_is_left_out() {
    let kept = KeptHistory::new();
    let mut history = SwapHistory::beside(&kept.dir.path().join("journal"), SupervisorMetrics::default());
    history.add(entry(1, &"x".repeat(LINE_MAX)));
    history.add(HistoryEntry {
        report: SwapReport { binary: OsStr::from_bytes(b"\xff").into(), ..entry(2, "").report },
        ..entry(2, "")
    });
    history.add(entry(3, ""));
    drop(history);
    assert_eq!(kept.ids(), [3]);
}

#[test]
fn a_file_that_can_not_be_trusted_is_neither_followed_nor_written() {
    let kept = KeptHistory::new();
    let precious = kept.dir.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, kept.path()).unwrap();
    kept.add([1]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(kept.path()).unwrap();

    kept.add([2]);
    fs::set_permissions(kept.path(), Permissions::from_mode(0o666)).unwrap();
    assert!(read(&kept.path()).is_err());
    kept.add([3]);
    assert_eq!(fs::read_to_string(kept.path()).unwrap().lines().count(), 1);

    fs::remove_file(kept.path()).unwrap();
    nix::unistd::mkfifo(&kept.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    kept.add([4]);
}
