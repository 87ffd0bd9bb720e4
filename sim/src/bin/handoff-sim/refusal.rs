//! The reasons why the command does not do what it was asked for.
use std::io;
use std::path::{Path, PathBuf};

use handoff_sim::corpus::BadCorpus;
use handoff_sim::explore::BadSchedule;
use handoff_sim::merge::BadMerge;
use handoff_sim::outage::NoPlace;
use handoff_sim::plan::BadPlan;
use thiserror::Error;

use crate::shard::NoShard;

/// The reason why the command does not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// A canary was asked for where there is no place for one.
    #[error(
        "an exploration has a kernel of its own, where no canary can be put: leave --canary and HANDOFF_CANARY away"
    )]
    NoCanary,
    /// A plan that does not fail was to be made smaller.
    #[error("it does not fail: nothing to shrink")]
    NothingToShrink,
    /// No bound has this name.
    #[error("there is no bound {asked:?}; there are small, large, carry, all, {}", known.join(", "))]
    NoBound { asked: String, known: Vec<&'static str> },
    /// The text is no range of seeds.
    #[error("{0:?} is no range of seeds: A..B, such as 0..100000")]
    NoSeeds(String),
    #[error(transparent)]
    NoShard(#[from] NoShard),
    #[error(transparent)]
    BadPlan(#[from] BadPlan),
    #[error(transparent)]
    BadSchedule(#[from] BadSchedule),
    #[error(transparent)]
    BadMerge(#[from] BadMerge),
    #[error(transparent)]
    BadCorpus(#[from] BadCorpus),
    /// A table has no place in this document.
    #[error("{}: {why}", path.display())]
    NoPlace { path: PathBuf, why: NoPlace },
    #[error("can't read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("can't write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Refusal {
    /// Returns the refusal of what can't be read from `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Refusal {
        move |error| Refusal::Read { path: path.to_path_buf(), error }
    }

    /// Returns the refusal of what can't be written to `path`.
    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Refusal {
        move |error| Refusal::Write { path: path.to_path_buf(), error }
    }
}
