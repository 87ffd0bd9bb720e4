//! Files that are trusted: their owners, the users that may change them, their kinds.
#![cfg(feature = "unix")]
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handoff::unix::journal::JournalFile;
use handoff::unix::record_file::{NAME, RecordFile};
use handoff::unix::trusted::{Distrust, Draft, Flaw, Kind, check_executable, open_named, open_own};
use handoff::{DataDir, Error, SpawnSpec, Supervisor};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

const STRANGER: u32 = 65_533;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "content").unwrap();
    (dir, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns what is wrong with the file at `path`.
#[track_caller]
fn flaw(path: &Path) -> Flaw {
    let error = open_own(path, true).unwrap_err();
    Distrust::of(&error).unwrap_or_else(|| panic!("{error}")).flaw.clone()
}

/// Only root can give a file away.
fn give_away(path: &Path) -> bool {
    let is_root = geteuid().is_root();
    if is_root {
        chown(path, Some(STRANGER), None).unwrap();
    } else {
        eprintln!("skipped: only root can give a file to another user");
    }
    is_root
}

#[test]
fn a_link_is_not_followed_where_none_belongs() {
    let (dir, target) = place();
    let link = dir.path().join("link");
    symlink(&target, &link).unwrap();
    assert_eq!(flaw(&link), Flaw::Link);
    assert!(open_named(&link).is_ok(), "where an operator named it, it is followed");
    let round = dir.path().join("round");
    symlink(&round, &round).unwrap();
    assert!(open_named(&round).unwrap_err().to_string().contains("leads to itself"));
}

#[test]
fn what_is_no_file_is_refused_and_a_fifo_keeps_nobody_waiting() {
    let (dir, _) = place();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let began = Instant::now();
    for path in [&fifo, Path::new("/dev/null"), dir.path()] {
        let refusal = open_own(path, false).unwrap_err();
        assert_eq!(Distrust::of(&refusal).map(|why| &why.flaw), Some(&Flaw::Kind(Kind::File)), "{refusal}");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_others_may_write_is_refused_with_the_command_that_helps() {
    let (dir, path) = place();
    set_mode(&path, 0o646);
    let refusal = open_own(&path, false).unwrap_err().to_string();
    assert!(refusal.contains(&format!("chmod go-w {}", path.display())), "{refusal}");
    set_mode(&path, 0o644);
    assert!(open_own(&path, false).is_ok());
    set_mode(dir.path(), 0o777);
    let refusal = open_own(&path, false).unwrap_err().to_string();
    assert!(refusal.contains(&format!("chmod go-w {}", dir.path().display())), "of its directory: {refusal}");
    set_mode(dir.path(), 0o1777);
    assert!(open_own(&path, false).is_ok(), "nobody can replace it there");
}

#[test]
fn what_another_user_owns_is_refused() {
    let (dir, path) = place();
    if !give_away(&path) {
        return;
    }
    assert!(matches!(flaw(&path), Flaw::Owner { owner: STRANGER, .. }));
    let (_dir, mine) = place();
    let link = dir.path().join("link");
    symlink(&mine, &link).unwrap();
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &link,
        Some(STRANGER.into()),
        None,
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert!(
        open_named(&link).unwrap_err().to_string().contains("uid 65533"),
        "a link that he can point elsewhere"
    );
    chown(dir.path(), Some(STRANGER), None).unwrap();
    fs::write(dir.path().join("own"), "").unwrap();
    assert!(matches!(flaw(&dir.path().join("own")), Flaw::Owner { .. }), "he can replace it");
}

#[test]
fn a_draft_has_a_name_that_nobody_can_foresee_and_leaves_nothing() {
    let (dir, path) = place();
    let names =
        || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let (one, two) = (Draft::beside(&path, 0o600).unwrap(), Draft::beside(&path, 0o600).unwrap());
    assert_eq!(names().len(), 3);
    (&one.file).write_all(b"new").unwrap();
    one.rename(&path).unwrap();
    drop((one, two));
    assert_eq!((names().len(), fs::read_to_string(&path).unwrap()), (1, "new".into()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

/// The names were foreseeable once: `handoff.record.PID.new`, `journal.PID.new`.
#[test]
fn links_at_the_names_of_old_drafts_harm_nobody() {
    let (dir, target) = place();
    let pid = std::process::id();
    let journal = dir.path().join("journal");
    for name in [format!("{NAME}.{pid}.new"), format!("journal.{pid}.new")] {
        symlink(&target, dir.path().join(name)).unwrap();
    }
    RecordFile::open(&DataDir::open(dir.path()).unwrap()).unwrap();
    JournalFile::open(&journal).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "content");
}

#[test]
fn a_record_that_is_a_fifo_or_a_link_is_refused_at_once() {
    let (dir, target) = place();
    let data = DataDir::create(dir.path().join("data")).unwrap();
    let record = data.named().join(NAME);
    symlink(&target, &record).unwrap();
    assert!(matches!(RecordFile::open(&data), Err(Error::Untrusted(_))));
    assert_eq!(fs::read_to_string(&target).unwrap(), "content");
    fs::remove_file(&record).unwrap();
    let file = RecordFile::open(&data).unwrap();
    fs::remove_file(&record).unwrap();
    mkfifo(&record, Mode::S_IRWXU).unwrap();
    let began = Instant::now();
    let refusal = file.read().unwrap_err().to_string();
    assert!(
        refusal.contains(&format!("{} can't be trusted: it is not a regular file", record.display())),
        "{refusal}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_journal_of_another_user_is_not_believed() {
    let (dir, _) = place();
    let path = dir.path().join("journal");
    drop(JournalFile::open(&path).unwrap());
    set_mode(&path, 0o602);
    assert!(matches!(JournalFile::open(&path), Err(Error::Untrusted(_))), "others may write to it");
    set_mode(&path, 0o600);
    if give_away(&path) {
        let control = dir.path().join("control");
        let refusal = Supervisor::new(control).unwrap().with_journal(&path).unwrap_err().to_string();
        assert!(refusal.contains("uid 65533"), "{refusal}");
    }
}

#[test]
fn a_binary_that_others_may_write_is_not_executed() {
    let (dir, _) = place();
    let binary = dir.path().join("binary");
    fs::copy("/bin/true", &binary).unwrap();
    assert!(check_executable(&binary).is_ok());
    set_mode(&binary, 0o757);
    let supervisor = Supervisor::new(dir.path().join("control")).unwrap();
    let refusal = supervisor.cold_start(SpawnSpec::new(&binary)).unwrap_err();
    assert!(
        matches!(&refusal.error, Error::Untrusted(why) if why.to_string().contains("chmod go-w")),
        "{refusal}"
    );
}
