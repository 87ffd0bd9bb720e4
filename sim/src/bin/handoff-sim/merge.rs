//! `handoff-sim merge`.
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use handoff_sim::merge::{Merged, merge};

use crate::refusal::Refusal;
use crate::shard::Shard;
use crate::sweep::write_json;

#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// The files that `sweep --json` has written, one for each shard.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// All seeds of the sweep; by default from the lowest to the highest in the files.
    #[arg(long, value_name = "A..B", value_parser = crate::seeds)]
    seeds: Option<Range<u64>>,
    /// The number of shards: those that are missing are named by it.
    #[arg(long, value_name = "N", requires = "seeds", value_parser = clap::value_parser!(u64).range(1..))]
    shards: Option<u64>,
    /// The file for the result, in JSON; `-` is the standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    json: PathBuf,
}

impl MergeArgs {
    /// Writes the result over all seeds, as one sweep over them would have, and names the shards that are missing or have failed.
    /// With those it exits with 1.
    pub(crate) fn run(self) -> Result<ExitCode, Refusal> {
        let Merged { result, missing, failed } = merge(&self.files, self.seeds.clone())?;
        for part in &missing {
            note!("{} of the seeds {}..{} is missing", self.names(part), part.start, part.end);
        }
        for (part, failure) in &failed {
            let (check, why) = (failure.violation.check, &failure.violation.why);
            note!("{} has failed with seed {}: {check}: {why}", self.names(part), failure.seed);
        }
        if missing.is_empty() {
            write_json(&result, &self.json)?;
        } else {
            note!("nothing is written: run what is missing, and merge again");
        }
        let all_is_well = missing.is_empty() && failed.is_empty();
        Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The shards that have `part` of the seeds, for people.
    fn names(&self, part: &Range<u64>) -> String {
        let (Some(seeds), Some(n)) = (&self.seeds, self.shards) else {
            return format!("the shard with the seeds {}..{}", part.start, part.end);
        };
        let shards = Shard::within(part, seeds, n).iter().map(Shard::to_string).collect::<Vec<_>>();
        format!("shard {}", shards.join(", "))
    }
}
