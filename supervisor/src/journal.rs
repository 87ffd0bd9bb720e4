//! The journal's file, as people read it: it is read without its lock, whether a supervisor runs or not.
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use handoff::id::InBoot;
use handoff::journal::{Binary, Journal};
use handoff::slots::SlotFault;
use handoff::text::PlainText;
use handoff::unix::journal::read_to_show;
use handoff::unix::pid::boot_id;
use serde::Serialize;

use crate::exit::Code;
use crate::when;

/// The report of a journal's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalReport {
    /// The content of the journal; `None` if that can't be read.
    pub journal: Option<JournalContent>,
    /// The faults of the file.
    pub problems: Vec<String>,
    /// `true` if a supervisor that starts uses it. If not, it is set aside then, and an empty one begun.
    pub is_usable: bool,
}

/// The content of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalContent {
    /// The time at which the journal was written (RFC 3339).
    pub written_at: String,
    /// `true` if it was written in another boot, or that is not known: the processes that it names have
    /// ended.
    pub is_of_another_boot: bool,
    /// The daemon that serves.
    pub running: Option<RunningContent>,
    /// The binary that is started if nobody serves.
    pub committed: Option<BinaryContent>,
    /// The binary that was committed before that.
    pub previous: Option<BinaryContent>,
    /// The handoff that was not seen to come to its end.
    pub under_way: Option<UnderWayContent>,
    /// `true` if the daemon was stopped on purpose.
    pub stopped: bool,
    /// The last revision of each shard that was served, if that was said.
    pub revisions: Option<Vec<u64>>,
}

/// The daemon that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningContent {
    /// Its pid.
    pub pid: u32,
    /// The name that the process gives to its build.
    pub build_id: PlainText,
    /// `true` if it was started from what is committed, as far as is known.
    pub is_committed: bool,
}

/// A binary that was committed, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BinaryContent {
    /// Its path.
    pub path: PlainText,
    /// Its arguments.
    pub args: Vec<PlainText>,
    /// The directory that it was started in, if that is known.
    pub working_dir: Option<PlainText>,
    /// The first handoff that started this file; the copy that is kept of it is called after that.
    pub handoff_id: String,
}

/// A handoff that was not seen to come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderWayContent {
    /// Identifies it in the logs of all processes.
    pub handoff_id: String,
    /// The pid of the process that is to be replaced; `None` in a cold start.
    pub incumbent: Option<u32>,
    /// The pid of the process that is to serve.
    pub successor: u32,
    /// The binary that the successor was started from.
    pub binary: BinaryContent,
    /// `true` if the new daemon serves; only the old one was still to leave.
    pub retiring: bool,
}

/// Reads the journal at `path`.
///
/// # Errors
/// The file can't be read, or is none of a supervisor's.
pub fn read(path: &Path) -> io::Result<JournalReport> {
    let slots = read_to_show(path)?;
    let mut problems: Vec<String> = slots.problems.iter().map(ToString::to_string).collect();
    if slots.newest.is_none() && problems.is_empty() {
        problems.push("no slot was ever written".into());
    }
    let is_newer = slots.problems.iter().any(|problem| matches!(problem.fault, SlotFault::Newer { .. }));
    let journal = slots.newest.map(|(_, journal)| JournalContent::from(&journal));
    Ok(JournalReport { is_usable: journal.is_some() && !is_newer, journal, problems })
}

impl JournalReport {
    /// The exit status that `journal show` ends with.
    pub fn code(&self) -> Code {
        if self.is_usable { Code::Ok } else { Code::Data }
    }
}

impl From<&InBoot<Journal>> for JournalContent {
    fn from(InBoot { boot, value: journal }: &InBoot<Journal>) -> JournalContent {
        let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(journal.written_at_unix_ms));
        JournalContent {
            written_at: when::rfc3339(written.unwrap_or(SystemTime::UNIX_EPOCH)),
            is_of_another_boot: !boot.is_also(boot_id()),
            running: journal.running.as_ref().map(|running| RunningContent {
                pid: running.process.pid,
                build_id: plain(&running.build_id),
                is_committed: running.is_committed,
            }),
            committed: journal.committed.as_ref().map(BinaryContent::from),
            previous: journal.previous.as_ref().map(BinaryContent::from),
            under_way: journal.under_way.as_ref().map(|under_way| UnderWayContent {
                handoff_id: under_way.handoff_id.to_string(),
                incumbent: under_way.incumbent.map(|incumbent| incumbent.pid),
                successor: under_way.successor.pid,
                binary: BinaryContent::from(&under_way.binary),
                retiring: under_way.retiring,
            }),
            stopped: journal.stopped,
            revisions: journal.data.revisions.clone(),
        }
    }
}

impl From<&Binary> for BinaryContent {
    fn from(binary: &Binary) -> BinaryContent {
        BinaryContent {
            path: plain(&binary.path),
            args: binary.args.iter().map(|arg| plain(arg)).collect(),
            working_dir: binary.working_dir.as_deref().map(plain),
            handoff_id: binary.handoff_id.to_string(),
        }
    }
}

fn plain(bytes: &[u8]) -> PlainText {
    String::from_utf8_lossy(bytes).as_ref().into()
}

/// Shows the report, a subject a line.
impl fmt::Display for JournalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "problem:   {problem}")?;
        }
        match (&self.journal, self.is_usable) {
            (None, _) => f.write_str("a supervisor that starts sets it aside and begins an empty one"),
            (Some(journal), false) => {
                writeln!(f, "{journal}")?;
                f.write_str("a supervisor that starts sets it aside and begins an empty one")
            }
            (Some(journal), true) => journal.fmt(f),
        }
    }
}

impl fmt::Display for JournalContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boot = if self.is_of_another_boot { ", in another boot: its processes have ended" } else { "" };
        write!(f, "written:   {}{boot}", self.written_at)?;
        match &self.running {
            Some(RunningContent { pid, build_id, is_committed }) => {
                let other = if *is_committed { "" } else { ", not started from what is committed" };
                write!(f, "\nrunning:   pid {pid}, build {build_id}{other}")?;
            }
            None if self.stopped => f.write_str("\nrunning:   none: it was stopped on purpose")?,
            None => f.write_str("\nrunning:   none")?,
        }
        for (name, binary) in [("committed:", &self.committed), ("previous: ", &self.previous)] {
            match binary {
                Some(binary) => write!(f, "\n{name} {binary}")?,
                None => write!(f, "\n{name} none")?,
            }
        }
        if let Some(UnderWayContent { handoff_id, incumbent, successor, binary, retiring }) = &self.under_way
        {
            let old = incumbent.map_or_else(|| "none".into(), |pid| format!("pid {pid}"));
            // That the old one has left is not written any more.
            let (word, how) = match retiring {
                true => ("last swap", "committed, and the old one leaves or has left"),
                false => ("under way", "not committed"),
            };
            write!(f, "\n{word}: handoff {handoff_id}, {old} -> pid {successor}, {how}: {binary}")?;
        }
        if let Some(revisions) = &self.revisions {
            let revisions: Vec<String> = revisions.iter().map(u64::to_string).collect();
            write!(f, "\nrevisions: {}", revisions.join(" "))?;
        }
        Ok(())
    }
}

impl fmt::Display for BinaryContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))?;
        self.working_dir.iter().try_for_each(|dir| write!(f, ", in {dir}"))?;
        write!(f, ", first in handoff {}", self.handoff_id)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use handoff::unix::journal::JournalFile;

    use super::*;

    #[test]
    fn every_file_is_shown_or_said_to_be_bad_whatever_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(JournalFile::open(&path).unwrap());
        let good = read(&path).unwrap();
        assert!(good.is_usable && good.problems.is_empty(), "{good}");
        assert!(good.to_string().contains("running:   none"), "{good}");

        let bytes = fs::read(&path).unwrap();
        let mut torn = bytes.clone();
        torn[30] ^= 1;
        let later = [b"HOJRNL99", &bytes[8..]].concat();
        for (bytes, says) in [
            (Vec::new(), "empty"),
            (vec![0; bytes.len()], "no slot was ever written"),
            (torn, "checksum"),
            (later, "newer"),
            (b"precious".repeat(9), "not a file of this kind"),
        ] {
            fs::write(&path, bytes).unwrap();
            let bad = read(&path).unwrap();
            assert_eq!(bad.code(), Code::Data);
            assert!(bad.to_string().contains(says), "{says}: {bad}");
        }
    }

    #[test]
    fn what_is_no_file_of_a_supervisor_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(read(&path).is_err(), "a link");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&path).is_err(), "a FIFO: nothing waits for its writer");
    }
}
