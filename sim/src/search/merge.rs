//! Puts together what shards of a sweep have found, as if one process had run all the seeds.
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sweep::{Failure, Summary, add_counts, longer};

/// The result of a sweep over some seeds, as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepResult {
    /// The version and the commit of the program that ran the seeds.
    pub made_by: String,
    /// The first seed.
    pub from: u64,
    /// The seed after the last one.
    pub to: u64,
    /// One seed in so many was run twice.
    pub twice_every: u64,
    /// The findings.
    #[serde(flatten)]
    pub summary: Summary,
}

/// The reason why results can't be put together.
#[derive(Debug, Error)]
pub enum BadMerge {
    /// A file can't be read.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A file is no result of a sweep, or not a whole one.
    #[error("{} is no result of a sweep, or not a whole one: {error}; run that shard again", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The place in the file and what is wrong there.
        error: serde_json::Error,
    },
    /// Two results come from other programs, or from other options.
    #[error("{} and {} were made by different programs or with another --twice-every: run the shards of one of them again", one.display(), other.display())]
    Differ {
        /// The first file.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// Some seeds are in two results.
    #[error("{} and {} both have the seeds {}..{}: leave one of them away", one.display(), other.display(), seeds.start, seeds.end)]
    Overlap {
        /// The first file.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
        /// The seeds that both have.
        seeds: Range<u64>,
    },
    /// No file was given.
    #[error("there is no result to put together: name the files that `sweep --json` has written")]
    Nothing,
}

/// The results of shards, put together.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The result over all seeds that are there.
    pub result: SweepResult,
    /// The seeds that no result has.
    pub missing: Vec<Range<u64>>,
    /// The shards that have found a failure, and the failure.
    pub failed: Vec<(Range<u64>, Failure)>,
}

/// Puts the results in `files` together. The missing seeds are looked for within `wanted`, or else between the lowest and the highest that
/// there are.
///
/// # Errors
/// A file can't be read or is no whole result, or two of them can't be parts of one sweep.
pub fn merge(files: &[PathBuf], wanted: Option<Range<u64>>) -> Result<Merged, BadMerge> {
    let mut parts = files.iter().map(|path| Ok((path, read(path)?))).collect::<Result<Vec<_>, BadMerge>>()?;
    parts.sort_by_key(|(_, part)| (part.from, part.to));
    for pair in parts.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        if (&first.made_by, first.twice_every) != (&second.made_by, second.twice_every) {
            return Err(BadMerge::Differ { one: one.to_path_buf(), other: other.to_path_buf() });
        }
        if second.from < first.to {
            let seeds = second.from..first.to.min(second.to);
            return Err(BadMerge::Overlap { one: one.to_path_buf(), other: other.to_path_buf(), seeds });
        }
    }
    let parts: Vec<SweepResult> = parts.into_iter().map(|(_, part)| part).collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Err(BadMerge::Nothing) };
    let whole = wanted.unwrap_or(first.from..last.to);
    let mut result =
        SweepResult { from: whole.start, to: whole.end, summary: Summary::default(), ..first.clone() };
    let missing = missing(&parts, whole);
    let mut failed = Vec::new();
    for part in parts {
        if let Some(failure) = &part.summary.failure {
            failed.push((part.from..part.to, failure.clone()));
        }
        result.summary.add(part.summary);
    }
    Ok(Merged { result, missing, failed })
}

fn read(path: &Path) -> Result<SweepResult, BadMerge> {
    let text =
        fs::read_to_string(path).map_err(|error| BadMerge::Read { path: path.to_path_buf(), error })?;
    serde_json::from_str(&text).map_err(|error| BadMerge::Parse { path: path.to_path_buf(), error })
}

/// The seeds of `whole` that are in none of `parts`, which are in order.
fn missing(parts: &[SweepResult], whole: Range<u64>) -> Vec<Range<u64>> {
    let mut missing = Vec::new();
    let mut next = whole.start;
    for part in parts {
        missing.extend((next < part.from).then_some(next..part.from.min(whole.end)));
        next = next.max(part.to);
    }
    missing.extend((next < whole.end).then_some(next..whole.end));
    missing
}

impl Summary {
    /// Adds what other seeds have shown.
    pub(super) fn add(&mut self, other: Summary) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.requests += other.requests;
        self.virtual_micros += other.virtual_micros;
        self.run_twice += other.run_twice;
        add_counts(&mut self.verdicts, other.verdicts);
        add_counts(&mut self.faults, other.faults);
        add_counts(&mut self.gaps, other.gaps);
        add_counts(&mut self.cells, other.cells);
        for (kinds, runs) in self.classes_a_run.iter_mut().zip(other.classes_a_run) {
            *kinds += runs;
        }
        for (class, outage) in other.outages {
            longer(&mut self.outages, &class, outage);
        }
        if let Some(failure) = other.failure {
            self.fails(failure);
        }
    }

    /// Keeps the failure of the lowest seed.
    pub(super) fn fails(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|known| failure.seed < known.seed) {
            self.failure = Some(failure);
        }
    }
}
