//! The findings, as Markdown; and in their place in a document.
use std::collections::BTreeMap;
use std::path::Path;

use super::places::{COLD, PAIR, SWAP, TAKEOVER, WAY_BACK};
use super::{Broken, Found, Table, UNCONFIRMED};
use crate::search::failure::save_plan;

/// The line before the table, and the line after it.
const BEGIN: &str = "<!-- outage table: handoff-sim outage -->";
const END: &str = "<!-- end of the outage table -->";

/// The command that puts the table into the documentation.
pub const UPDATE: &str = "cargo run --release --bin handoff-sim -- outage --update docs/outages.md";

/// A document has no place for the table: the lines that mark it are missing, or in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lines {BEGIN:?} and {END:?} are missing, in this order")]
pub struct NoPlace;

impl Table {
    /// The table for people to read: what goes wrong, how long nobody serves then at most, and what was measured.
    pub fn markdown(&self) -> String {
        let parts = [
            (SWAP, "One fault, during a swap"),
            (WAY_BACK, "… one that the operator calls off, where that is different"),
            (TAKEOVER, "… while a supervisor is started anew, where that is different"),
            (COLD, "… while a daemon is started where none serves, where that is different"),
            (PAIR, "Two faults: crashes, and stops that outlast all limits"),
        ];
        let head = "| | nobody serves for at most | by default | longest, ms | at | reported | connections |";
        let mut lines = vec![head.to_string(), "|---|---|---|---|---|---|---|".to_string()];
        for (path, title) in parts {
            lines.push(format!("| **{title}** | | | | | | |"));
            lines.extend(self.rows.iter().filter(|row| row.path == path).map(line));
        }
        lines.push(String::new());
        lines.push(format!(
            "{} runs. *pause*: as long as a swap takes in which nothing goes wrong, {} ms here, the daemon's own hooks; *length*: as \
             long as what went wrong lasts; *restart*: until a supervisor that died is started again; *recovered*: the next one reports what became of the swap.",
            self.runs, self.pause_ms
        ));
        lines.join("\n")
    }

    /// The text of a document, with this table in its place.
    ///
    /// # Errors
    /// [`NoPlace`]
    pub fn update(&self, text: &str) -> Result<String, NoPlace> {
        let (before, rest) = text.split_once(BEGIN).ok_or(NoPlace)?;
        let (_, after) = rest.split_once(END).ok_or(NoPlace)?;
        Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", self.markdown()))
    }

    /// Returns what breaks a rule, in lines: the first of each class, with the command that shows it again.
    /// Saves their plans in `directory`.
    pub fn breaches(&self, directory: &Path) -> String {
        let mut classes: BTreeMap<&str, (&Broken, usize)> = BTreeMap::new();
        for broken in &self.broken {
            classes.entry(&broken.class).or_insert((broken, 0)).1 += 1;
        }
        let told = classes.values().enumerate().map(|(number, (broken, times))| {
            let more = if *times > 1 {
                format!("\n    and {} more of this class", times - 1)
            } else {
                String::new()
            };
            format!("{}{more}\n", broken.text(number, directory))
        });
        told.collect()
    }
}

impl Broken {
    fn text(&self, number: usize, directory: &Path) -> String {
        let Some(plan) = &self.plan else { return self.why.clone() };
        match save_plan(directory, &format!("outage-{number}"), &self.why, plan) {
            Ok(path) => format!(
                "{}\n    replay it: cargo run --release --bin handoff-sim -- replay {}",
                self.why,
                path.display()
            ),
            Err(error) => format!("{}\n    its plan can't be saved: {error}\n{}", self.why, plan.to_toml()),
        }
    }
}

fn line(row: &Found) -> String {
    let place = if row.place.is_empty() { String::new() } else { format!("`{}`", row.place) };
    let bold = |verdict: &String| match verdict.as_str() {
        UNCONFIRMED => format!("**{UNCONFIRMED}**"),
        verdict => verdict.to_string(),
    };
    let reported: Vec<String> = row.reported.iter().map(bold).collect();
    let connections = match (row.kept, row.cut) {
        (0, 0) => String::new(),
        (_, 0) => "kept".into(),
        (0, _) => "cut".into(),
        (kept, cut) => format!("cut in {cut} of {} runs", kept + cut),
    };
    let Found { what, rule, by_default, longest_ms, .. } = row;
    let reported = reported.join(", ");
    format!("| {what} | {rule} | {by_default} | {longest_ms:.1} | {place} | {reported} | {connections} |")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let table = Table { runs: 7, ..Table::default() };
        let old = format!("before\n{BEGIN}\nold\n{END}\nafter");
        let new = table.update(&old).expect("a place");
        assert!(new.starts_with("before\n") && new.ends_with("\nafter"), "{new}");
        assert!(new.contains("7 runs") && !new.contains("old"), "{new}");
        assert_eq!(table.update(&new), Ok(new));
        assert!(table.update("no place").is_err());
    }
}
