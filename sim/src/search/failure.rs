//! The account of a failure for a person: which check, why, the smallest plan, the trace around it, how to
//! see it again.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use super::shrink::shrink;
use super::sweep::Failure;
use crate::harness::checks::Violation;
use crate::plan::Plan;
use crate::plan::draw::draw;
use crate::run::{Planted, RunOptions, RunReport, run};
use crate::simulated::Make;
use crate::trace::text;

/// So many lines before the failure are shown.
const LINES_BEFORE: usize = 40;

/// The way in which a failure is to be explained.
#[derive(Clone)]
pub struct Explain<'a> {
    /// Makes the daemons.
    pub make: &'a Arc<Make>,
    /// Broken on purpose.
    pub planted: Planted,
    /// The directory in which plans are saved.
    pub directory: &'a Path,
    /// The command that runs a plan again, with `{}` for the plan's path.
    pub replay: &'a str,
}

impl Explain<'_> {
    /// All that there is to say of `failure`, in lines. Saves the smallest plan that fails in the same way.
    pub fn text(&self, failure: &Failure) -> String {
        self.of(&format!("seed {}", failure.seed), &draw(failure.seed), Some(&failure.violation))
    }

    /// The same of a plan that no seed draws; `name` is what to call it.
    pub fn text_of(&self, name: &str, plan: &Plan) -> String {
        self.of(name, plan, None)
    }

    /// `known`: what failed, if a run of the plan need not show it.
    fn of(&self, name: &str, plan: &Plan, known: Option<&Violation>) -> String {
        // Two runs that differ are no plan's fault.
        let plan = shrink(plan, self.make, self.planted).unwrap_or_else(|| plan.clone());
        let options = RunOptions { trace: true, planted: self.planted, ..RunOptions::default() };
        let report = run(&Arc::new(plan.clone()), self.make, options);
        let Some(violation) = report.violation.as_ref().or(known) else {
            return format!("{name}: all checks hold");
        };
        let again = match self.save(&plan, name, violation) {
            Ok(path) => format!("saved as {}\nreplay it: {}", path.display(), self.replay_of(&path)),
            Err(error) => format!("it can't be saved in {}: {error}", self.directory.display()),
        };
        format!(
            "{name} fails the check \"{}\": {}\n({})\n\nthe smallest plan that fails in the same way:\n\n{}\n{again}\n\n\
             what led to it (times in ms):\n{}",
            violation.check,
            violation.why,
            version(),
            indented(&plan.to_toml()),
            tail(&report)
        )
    }

    fn save(&self, plan: &Plan, name: &str, violation: &Violation) -> io::Result<PathBuf> {
        let why = format!("{}: {}\n# From {name}, {}.", violation.check, violation.why, version());
        save_plan(self.directory, &name.replace(' ', "-"), &why, plan)
    }

    fn replay_of(&self, path: &Path) -> String {
        self.replay.replace("{}", &path.display().to_string())
    }
}

/// Writes a plan, with a line that says why, into `directory`, which is made if it is missing.
pub(crate) fn save_plan(directory: &Path, name: &str, why: &str, plan: &Plan) -> io::Result<PathBuf> {
    let path = directory.join(format!("{name}.toml"));
    fs::create_dir_all(directory)?;
    fs::write(&path, format!("# {why}\n{}", plan.to_toml()))?;
    Ok(path)
}

/// The last lines of a run.
fn tail(report: &RunReport) -> String {
    let lines = text::lines(&report.trace, 0);
    let first = lines.len().saturating_sub(LINES_BEFORE);
    lines[first..].join("\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Returns this crate's version and, in a git checkout, the commit.
pub fn version() -> String {
    let version = concat!("handoff-sim ", env!("CARGO_PKG_VERSION"));
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = git.ok().filter(|git| git.status.success());
    let commit = commit.map(|git| String::from_utf8_lossy(&git.stdout).trim().to_string());
    commit.map_or_else(|| version.to_string(), |commit| format!("{version}, commit {commit}"))
}
