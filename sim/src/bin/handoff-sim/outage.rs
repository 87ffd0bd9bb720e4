//! `handoff-sim outage`.
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use handoff_sim::outage::Outages;

use crate::Subject;
use crate::refusal::Refusal;
use crate::sweep::{bar, write_json};

#[derive(Debug, clap::Args)]
pub(crate) struct OutageArgs {
    /// On how many threads; by default as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// The path at which the table is written as JSON, too; `-` is the standard output, instead of the
    /// Markdown.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts the table into this file, between the lines that mark its place.
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
    /// The directory in which plans that break a rule are saved.
    #[arg(long, value_name = "DIR", default_value = "handoff-failures")]
    failures: PathBuf,
}

impl OutageArgs {
    pub(crate) fn run(self, subject: &Subject) -> Result<ExitCode, Refusal> {
        let mut outages = Outages::all(subject.make.clone(), subject.planted);
        outages.jobs = self.jobs.unwrap_or(outages.jobs).max(1);
        let bar = bar(outages.runs(), "runs");
        let table = outages.run(|runs| bar.inc(runs));
        bar.finish_and_clear();
        if !table.broken.is_empty() {
            note!("{}", table.breaches(&self.failures));
            return Ok(ExitCode::FAILURE);
        }
        self.json.as_deref().map_or(Ok(()), |path| write_json(&table, path))?;
        if let Some(path) = &self.update {
            let text = fs::read_to_string(path).map_err(Refusal::read(path))?;
            let text = table.update(&text).map_err(|why| Refusal::NoPlace { path: path.clone(), why })?;
            fs::write(path, text).map_err(Refusal::write(path))?;
        } else if self.json.as_deref().is_none_or(|path| path.as_os_str() != "-") {
            say!("{}", table.markdown());
        }
        Ok(ExitCode::SUCCESS)
    }
}
