//! A part of the seeds, for machines that share a sweep.
use std::env;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use thiserror::Error;

/// The `k`-th of `n` parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    k: u64,
    n: u64,
}

/// The text names no part of the seeds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoShard {
    #[error("{0:?} is no part: k/n, k from 0 to n-1, such as 0/4")]
    Text(String),
    #[error("{0}={1} and {2}={3} name no part of the seeds: set --shard k/n")]
    Variables(&'static str, String, &'static str, String),
}

/// The variables that say which part this is and how many there are, and from which number the parts are
/// counted.
const KNOWN: [(&str, &str, u64); 5] = [
    // An array of Slurm, from 0 on.
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", 0),
    // Kubernetes, Indexed Job. It says nothing of their number: put that into the pod's environment.
    ("JOB_COMPLETION_INDEX", "HANDOFF_SHARDS", 0),
    ("CI_NODE_INDEX", "CI_NODE_TOTAL", 1),
    ("CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0),
    ("BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0),
];

impl Shard {
    /// All of them.
    pub(crate) const WHOLE: Shard = Shard { k: 0, n: 1 };

    /// Returns what the environment says; all, if it says nothing.
    ///
    /// # Errors
    /// It contradicts itself.
    pub(crate) fn from_environment() -> Result<Shard, NoShard> {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, NoShard> {
        for (index, total, first) in KNOWN {
            if let (Some(k), Some(n)) = (variable(index), variable(total)) {
                let part = || Shard::new(k.parse::<u64>().ok()?.checked_sub(first)?, n.parse().ok()?);
                return part().ok_or(NoShard::Variables(index, k, total, n));
            }
        }
        Ok(Shard::WHOLE)
    }

    fn new(k: u64, n: u64) -> Option<Shard> {
        (k < n).then_some(Shard { k, n })
    }

    /// The shards of `n` that have some of `part`.
    pub(crate) fn within(part: &Range<u64>, seeds: &Range<u64>, n: u64) -> Vec<Shard> {
        let has_some = |shard: &Shard| {
            let its = shard.of(seeds.clone());
            its.start < part.end && part.start < its.end
        };
        (0..n).map(|k| Shard { k, n }).filter(has_some).collect()
    }

    /// Its part of `seeds`.
    pub(crate) fn of(self, seeds: Range<u64>) -> Range<u64> {
        let length = u128::from(seeds.end - seeds.start);
        let cut = |k: u64| seeds.start + (length * u128::from(k) / u128::from(self.n)) as u64;
        cut(self.k)..cut(self.k + 1)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.k, self.n)
    }
}

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let bad = || NoShard::Text(text.to_owned());
        let (k, n) = text.split_once('/').ok_or_else(bad)?;
        let (k, n) = (k.parse().map_err(|_| bad())?, n.parse().map_err(|_| bad())?);
        Shard::new(k, n).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Result<Shard, NoShard> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_string())
        };
        Shard::from_variables(value)
    }

    #[test]
    fn the_parts_are_all_of_it_and_none_overlaps() {
        let parts: Vec<u64> = (0..7).flat_map(|k| Shard { k, n: 7 }.of(10..1010)).collect();
        assert_eq!(parts, (10..1010).collect::<Vec<_>>());
    }

    #[test]
    fn the_environment_of_a_job_says_which_part_it_is() {
        assert_eq!(told(&[("JOB_COMPLETION_INDEX", "2"), ("HANDOFF_SHARDS", "8")]), Ok(Shard { k: 2, n: 8 }));
        assert_eq!(told(&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "4")]), Ok(Shard { k: 0, n: 4 }));
        assert_eq!(told(&[("CI_NODE_INDEX", "1")]), Ok(Shard::WHOLE));
        assert!(told(&[("CI_NODE_INDEX", "5"), ("CI_NODE_TOTAL", "4")]).is_err());
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "4/4", "-1/4", "a/b"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
