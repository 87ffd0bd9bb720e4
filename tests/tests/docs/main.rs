//! The documentation: short where it must be, and true where that can be checked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use handoff_supervisor::config::Config;
use handoff_supervisor::exit::Code;
use handoff_tests::free_address;
use similar::{ChangeTag, TextDiff};

mod commands;
mod messages;
mod shell;

use shell::{code_in, parts_of};

/// Words that stand for a role without naming it.
const PERSONS: &str = include_str!("../../../core/tests/sources/persons.txt");
/// Words that had another meaning once.
const FORMER: [&str; 5] = ["supervisor_process", "takes stock", "taking stock", "prompter", "newborn"];

/// A path is not checked if it is made by a run, or belongs to a user.
const NOT_OURS: [&str; 4] = ["handoff-failures/", "target/", ".cargo/config.toml", "handoff.toml"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages, from the workspace's directory.
pub(crate) fn pages() -> Vec<String> {
    let first = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "sim/README.md", "spec/README.md"];
    let mut pages = first.map(String::from).to_vec();
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    pages.extend(docs.map(|name| format!("docs/{}", name.to_str().unwrap())));
    pages
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Returns what follows `start`, a language and perhaps more, in the first fenced block that begins so.
fn block(text: &str, start: &str) -> String {
    let (_, rest) = text.split_once(&format!("\n```{start}")).expect("such a block");
    rest.split_once("```\n").expect("its end").0.into()
}

/// `text` without its fenced blocks and without code in a line.
fn prose(text: &str) -> String {
    let outside: String = text.split("```").step_by(2).collect();
    parts_of(&outside).into_iter().filter(|(is_code, _)| !is_code).map(|(_, text)| text).collect()
}

/// As `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_string()).collect()
}

/// A heading's name in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let outside: String = text.split("```").step_by(2).collect();
    outside
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

/// Returns what is code in a line and looks like a path of the repository.
fn paths(text: &str) -> Vec<String> {
    let outside: String = text.split("```").step_by(2).collect();
    let code = code_in(&outside).map(str::to_string);
    let top: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let is_path = |code: &String| {
        let (first, _) = code.split_once('/').unwrap_or_default();
        top.iter().any(|name| name == first) && !code.contains(['*', ' ', '<', '…'])
    };
    code.filter(is_path).filter(|code| !NOT_OURS.iter().any(|not| code.starts_with(not))).collect()
}

#[test]
fn the_first_pages_are_short() {
    for (page, limit) in [("README.md", 8192), ("ARCHITECTURE.md", 6144)] {
        let length = read(page).len();
        assert!(length <= limit, "{page} has {length} bytes, at most {limit} are allowed");
    }
}

#[test]
fn what_is_published_has_a_first_page_and_its_licences() {
    for package in ["core", "sim", "supervisor", "tokio"] {
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            let text = read(&format!("{package}/{file}"));
            assert!(!text.is_empty(), "{package}/{file}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        let dir = root().join(&page).parent().unwrap().to_path_buf();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, name) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { root().join(&page) } else { dir.join(file) };
            let is_there = target.exists()
                && (name.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(name));
            if !is_there {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_path_that_is_named_exists() {
    let missing = |page: &str, text: &str| -> Vec<String> {
        let gone = paths(text).into_iter().filter(|path| !root().join(path).exists());
        gone.map(|path| format!("{page}: {path}")).collect()
    };
    let missing: Vec<String> = pages().iter().flat_map(|page| missing(page, &read(page))).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The map of folders is indented by two spaces a level; what follows two spaces is its description.
#[test]
fn every_folder_on_the_map_exists() {
    let map = block(&read("ARCHITECTURE.md"), "text\ncore/");
    let mut parents: Vec<(usize, PathBuf)> = Vec::new();
    let mut missing = Vec::new();
    for line in format!("core/{map}").lines() {
        let depth = line.len() - line.trim_start().len();
        parents.retain(|(above, _)| *above < depth);
        let above = parents.last().map(|(_, path)| path.clone()).unwrap_or_default();
        let names = line.trim_start().split("  ").next().unwrap_or_default().split(' ');
        let folders: Vec<PathBuf> =
            names.filter(|name| name.ends_with('/')).map(|name| above.join(name)).collect();
        missing.extend(folders.iter().filter(|folder| !root().join(folder).is_dir()).cloned());
        parents.extend(folders.first().map(|folder| (depth, folder.clone())));
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_example_of_the_readme_is_the_source_of_the_minimal_daemon() {
    let shown = block(&read("README.md"), "rust\n");
    let source = read("examples/minimal/src/main.rs");
    let (header, code) = source.split_once('\n').unwrap();
    assert!(header.starts_with("//!"), "{header}");
    assert_eq!(shown, code, "README.md shows something else than examples/minimal/src/main.rs");
    assert!(!shown.lines().any(|line| line.starts_with("# ")), "hidden lines");
}

#[test]
fn an_axum_application_can_be_replaced_with_ten_changed_lines_which_the_guide_shows() {
    let [plain, replaceable] = ["plain", "main"].map(|name| read(&format!("examples/axum/src/{name}.rs")));
    let diff = TextDiff::from_lines(&plain, &replaceable);
    let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal).count();
    assert!((1..=10).contains(&changed), "{changed} lines are removed or added");
    let shown = block(&read("docs/guide-async.md"), "diff\n");
    let made = diff.unified_diff().header("plain.rs", "main.rs").to_string();
    assert_eq!(shown, made, "docs/guide-async.md shows something else than this:\n{made}");
}

/// Puts the configuration of the README into `dir`, as `handoff.toml`, with the directories and the program that it names. They are
/// below `dir`, and the address is a free one.
pub(crate) fn put_configuration_of_the_readme(dir: &Path) {
    let place = |path: &str| format!("{}{path}", dir.display());
    for folder in ["/run/lines", "/var/lib/lines/data", "/usr/local/bin"] {
        fs::create_dir_all(place(folder)).unwrap();
    }
    let binary = place("/usr/local/bin/handoff-minimal");
    fs::write(&binary, format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_minimal"))).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let shown = block(&read("README.md"), "toml\n").replace("127.0.0.1:7000", &free_address());
    let text = ["/run/", "/var/", "/usr/"]
        .iter()
        .fold(shown, |text, at| text.replace(&format!("\"{at}"), &format!("\"{}", place(at))));
    fs::write(dir.join("handoff.toml"), text).unwrap();
}

#[test]
fn the_configuration_of_the_readme_is_good() {
    let dir = tempfile::tempdir().unwrap();
    put_configuration_of_the_readme(dir.path());
    let config =
        Config::load(&dir.path().join("handoff.toml")).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.listeners.len(), 1);
}

#[test]
fn the_demonstration_that_the_readme_shows_is_one() {
    let shown = block(&read("README.md"), "text\nNothing failed");
    let report = read("examples/demo/src/report.rs");
    for line in shown.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.get(2..17).unwrap_or_default().trim_end();
        assert!(
            report.contains(&format!("(\"{name}\"")) || report.contains(&format!("\"{name}\",")),
            "{line}"
        );
    }
}

#[test]
fn the_table_of_exit_codes_has_each_code_that_a_command_exits_with() {
    let text = read("docs/operations.md");
    let (_, section) = text.split_once("\n## Exit codes\n").expect("the section");
    let rows = section.split("\n## ").next().unwrap().lines();
    let shown = rows.filter_map(|row| row.strip_prefix("| ")?.split(' ').next()?.parse().ok());
    let codes = Code::ALL.iter().map(|code| code.number());
    assert_eq!(shown.collect::<Vec<u8>>(), codes.collect::<Vec<u8>>());
}

/// The names of all tests in the Rust files below `dir`.
pub(crate) fn tests_below(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            tests_below(&entry, names);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let after = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
            names.extend(after.filter_map(|(_, rest)| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

/// Checks the tests that hold a decision; that a scenario exists, a path's test sees to.
#[test]
fn every_test_that_holds_a_decision_exists() {
    let text = read("docs/testing.md");
    let (_, section) = text.split_once("\n## Decided once\n").expect("the section");
    let table = section.split("\n## ").next().unwrap();
    let mut tests = BTreeSet::new();
    ["core", "sim", "tests"].iter().for_each(|member| tests_below(&root().join(member), &mut tests));
    let held_by = |line: &str| line.trim_end_matches('|').rsplit('|').next().unwrap_or_default().to_owned();
    let rows: Vec<String> =
        table.lines().filter(|line| line.starts_with("| ")).skip(1).map(held_by).collect();
    assert!(rows.len() >= 12, "{rows:?}");
    for row in rows {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing holds this: {row}");
        let missing = names.iter().find(|name| !name.contains('/') && !tests.contains(**name));
        assert_eq!(missing, None, "no test has this name");
    }
}

/// Checks the words in files for readers: why a scenario is there is the title of its trace, and what is left
/// out is listed with the reason.
#[test]
fn scenarios_and_lists_name_the_role_or_the_type_that_they_are_about() {
    let folders = [
        "scenarios",
        "scenarios/corpus",
        "tests/tests/arms/bases",
        "tests/tests/arms",
        "tests/tests/coverage",
    ];
    let is_sentence = |line: &&str| line.starts_with("why = ") || line.starts_with('#');
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for path in folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap()) {
        let path = path.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "toml" || extension == "txt") {
            continue;
        }
        looked_at += 1;
        for line in fs::read_to_string(&path).unwrap().lines().filter(is_sentence) {
            let mut words = line.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
            if words.any(|word| PERSONS.lines().any(|person| person == word)) {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "say which process, user or thread:\n{}", found.join("\n"));
    assert!(looked_at > 200, "most are missed: {looked_at}");
}

#[test]
fn sentences_have_a_role_or_a_type_for_their_subject() {
    let mut found = Vec::new();
    for page in pages() {
        // It says which words are not used; and the generated table has its own.
        let text = match page.as_str() {
            "CONTRIBUTING.md" => read(&page).replace("\"whoever\"", ""),
            "docs/outages.md" => read(&page).split("<!-- outage table").next().unwrap().into(),
            _ => read(&page),
        };
        let text = prose(&text).to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
            let line = format!(" {} ", words.join(" "));
            let all = PERSONS.lines().chain(FORMER);
            let bad = all.filter(|word| line.contains(&format!(" {word} ")));
            found.extend(
                bad.map(|word| format!("{page}, prose line {}: {word}: {}", number + 1, line.trim())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
