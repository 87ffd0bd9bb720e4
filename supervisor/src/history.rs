//! The swaps that have ended, kept beside the journal over restarts of the supervisor: one JSON object a line.
//!
//! Nothing depends on this file. A line is written after the outcome, by a thread of its own, and a line that was torn is
//! passed over.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handoff::daemon::LossyWriter;
use handoff::journal::{Journal, UnderWay};
use handoff::unix::trusted::{self, Draft};
use handoff::{HandoffProgress, Interrupted, InterruptedEnd};
use serde::{Deserialize, Serialize};

use crate::exit::CommandFailure;
use crate::metrics::SupervisorMetrics;
use crate::protocol::{LastSwap, PhasesMs, ProcessReport, SwapOutcome, SwapReport, line};
use crate::when;

/// The number of swaps that are shown.
pub const SHOWN: usize = 100;
/// The largest number of lines in the file; then the oldest half goes.
const LINES_MAX: usize = 2 * SHOWN;
/// The longest line, in bytes.
const LINE_MAX: usize = 16 * 1024;
/// No more than that is read, in bytes: the end of the file.
const FILE_MAX: u64 = (LINES_MAX * LINE_MAX) as u64;
/// The longest time for which the end of the supervisor waits for the last line to be written.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// A swap that has ended, or a start that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The time at which the swap ended (RFC 3339).
    pub ended_at: String,
    /// The old daemon; none if none served.
    pub from: Option<ProcessReport>,
    /// The new daemon, if it was started.
    pub to: Option<ProcessReport>,
    /// The report of the swap.
    #[serde(flatten)]
    pub report: SwapReport,
}

impl HistoryEntry {
    /// Returns what has just ended so, having come as far as `progress` says.
    pub(crate) fn new(report: &SwapReport, progress: Option<&HandoffProgress>) -> HistoryEntry {
        let process = |of: Option<&_>| of.map(ProcessReport::from);
        HistoryEntry {
            ended_at: when::now(),
            from: process(progress.and_then(|progress| progress.incumbent.as_ref())),
            to: process(progress.and_then(|progress| progress.successor.as_ref())),
            report: report.clone(),
        }
    }
}

/// The history's file beside `journal`.
pub fn path_beside(journal: &Path) -> PathBuf {
    let mut path = journal.as_os_str().to_owned();
    path.push(".history");
    path.into()
}

/// The last [`SHOWN`] entries of the file at `path`, the oldest first; none, if there is no file. Lines that mean nothing are
/// passed over.
///
/// # Errors
/// The file can't be read, or is none of a supervisor's.
pub fn read(path: &Path) -> io::Result<Vec<HistoryEntry>> {
    let text = match trusted::open_to_show(path).and_then(|file| end_of(&file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let parse = |line| serde_json::from_slice(line).ok();
    let mut entries: Vec<HistoryEntry> = lines_of(&text).filter_map(parse).collect();
    entries.drain(..entries.len().saturating_sub(SHOWN));
    Ok(entries)
}

/// Returns what `file` ends with, as much of it as is read.
fn end_of(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(FILE_MAX);
    let mut text = vec![0; (length - start) as usize];
    file.read_exact_at(&mut text, start)?;
    Ok(text)
}

/// The lines of `text`; the first and the last may be torn.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The supervisor's own history.
#[derive(Debug)]
pub(crate) struct SwapHistory {
    /// The last swap, and when it ended.
    last: Option<(Instant, HistoryEntry)>,
    writer: Option<LossyWriter>,
    metrics: SupervisorMetrics,
}

impl SwapHistory {
    /// The history beside `journal`; what is added is counted by `metrics`. If it can't be kept, the log says so, and nothing else
    /// comes of it.
    pub(crate) fn beside(journal: &Path, metrics: SupervisorMetrics) -> SwapHistory {
        let path = path_beside(journal);
        let entries = read(&path).unwrap_or_else(|error| {
            tracing::warn!("the history of swaps can't be read: {error}");
            Vec::new()
        });
        let writer = LossyWriter::start(HistoryFile { path }, "", |_| String::new());
        let writer = writer.map_err(|error| tracing::warn!("the history of swaps is not kept: {error}"));
        let last = entries.into_iter().next_back().and_then(|last| {
            let ago = Duration::try_from_secs_f64(when::secs_since(&last.ended_at)?).ok()?;
            Some((Instant::now().checked_sub(ago)?, last))
        });
        SwapHistory { last, writer: writer.ok(), metrics }
    }

    /// Adds `entry`, and does not wait until it is written.
    pub(crate) fn add(&mut self, entry: HistoryEntry) {
        self.metrics.swap_has_ended(&entry.report);
        match line(&entry) {
            Ok(line) if line.len() <= LINE_MAX => {
                self.writer.iter_mut().for_each(|writer| drop(writer.write_all(&line)));
            }
            Ok(_) => tracing::warn!("the history of swaps lacks one: it has too much to say"),
            Err(failure) => tracing::warn!("the history of swaps lacks one: {failure}"),
        }
        self.last = Some((Instant::now(), entry));
    }

    /// Adds a swap to `binary` of which the library could not tell the end.
    pub(crate) fn add_unclear(
        &mut self,
        binary: PathBuf,
        failure: &CommandFailure,
        progress: Option<&HandoffProgress>,
    ) {
        let report = SwapReport {
            outcome: SwapOutcome::Unconfirmed,
            committed: false,
            reason: Some(failure.to_string()),
            reason_name: Some("failed".into()),
            resumed_confirmed: false,
            handoff_id: progress.map(|progress| progress.handoff_id.to_string()).unwrap_or_default(),
            binary,
            build_id: None,
            pid: None,
            phases_ms: PhasesMs::default(),
            pause_ms: 0.0,
            connections_left: 0,
            warnings: Vec::new(),
        };
        self.add(HistoryEntry::new(&report, progress));
    }

    /// The last swap, by an earlier supervisor perhaps.
    pub(crate) fn last_swap(&self) -> Option<LastSwap> {
        let (ended, HistoryEntry { ended_at, report, .. }) = self.last.clone()?;
        Some(LastSwap { ended_secs_ago: ended.elapsed().as_secs_f64(), ended_at, report })
    }

    /// Returns the time at which the process `pid` was committed, if it was the last one that was.
    pub(crate) fn committed_at(&self, pid: u32) -> Option<String> {
        let (_, last) = self.last.as_ref()?;
        (last.report.committed && last.report.pid == Some(pid)).then(|| last.ended_at.clone())
    }

    /// Adds the swap that an earlier supervisor did not bring to its end, as far as its journal has named it.
    pub(crate) fn add_interrupted(&mut self, interrupted: &Interrupted, journal: &Journal) {
        let named = journal.under_way.as_ref().filter(|swap| swap.handoff_id == interrupted.handoff_id);
        let Some(under_way) = named else { return };
        let process = |pid| ProcessReport { pid, build_id: None };
        self.add(HistoryEntry {
            ended_at: when::now(),
            from: under_way.incumbent.map(|incumbent| process(incumbent.pid)),
            to: Some(process(under_way.successor.pid)),
            report: report_of(interrupted, under_way),
        });
    }
}

/// Returns what became of a swap that an earlier supervisor did not bring to its end.
fn report_of(interrupted: &Interrupted, under_way: &UnderWay) -> SwapReport {
    let (outcome, committed) = match interrupted.end {
        InterruptedEnd::Finished => (SwapOutcome::Committed, true),
        InterruptedEnd::Undone => (SwapOutcome::RolledBack, false),
        _ => (SwapOutcome::NobodyServes, false),
    };
    SwapReport {
        outcome,
        committed,
        reason: Some(
            "its supervisor ended before it was over; the next one has found out what became of it".into(),
        ),
        reason_name: Some("interrupted".into()),
        resumed_confirmed: interrupted.end == InterruptedEnd::Undone,
        handoff_id: interrupted.handoff_id.to_string(),
        binary: PathBuf::from(OsStr::from_bytes(&under_way.binary.path)),
        build_id: None,
        pid: committed.then_some(under_way.successor.pid),
        phases_ms: PhasesMs::default(),
        pause_ms: 0.0,
        connections_left: 0,
        warnings: Vec::new(),
    }
}

impl Drop for SwapHistory {
    fn drop(&mut self) {
        self.writer.iter().for_each(|writer| writer.settle(SETTLE_LIMIT));
    }
}

/// The file that lines are written to.
#[derive(Debug)]
struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let file = trusted::open_or_create_own(&self.path)?;
        let text = end_of(&file)?;
        let lines: Vec<&[u8]> = lines_of(&text).collect();
        if lines.len() >= LINES_MAX {
            return self.begin_anew(&lines[lines.len() + 1 - SHOWN..], line);
        }
        // What was torn stays a line of its own.
        let is_torn = text.last().is_some_and(|last| *last != b'\n');
        let start: &[u8] = if is_torn { b"\n" } else { b"" };
        file.write_all_at(&[start, line].concat(), file.metadata()?.len())
    }

    fn begin_anew(&self, kept: &[&[u8]], line: &[u8]) -> io::Result<()> {
        let mut draft = Draft::beside(&self.path, 0o600)?;
        let kept: Vec<u8> = kept.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        draft.file.write_all(&[&kept, line].concat())?;
        draft.file.sync_data()?;
        draft.rename(&self.path)
    }
}

impl Write for HistoryFile {
    /// Takes one line. What can't be written is lost: a later line is not worth less than this one.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.append(line) {
            tracing::warn!("{}: the history of swaps lacks one: {error}", self.path.display());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
