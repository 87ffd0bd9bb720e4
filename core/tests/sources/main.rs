//! The rules of the workspace's sources: where what is decided, and what things are called.
use std::fs;
use std::path::{Path, PathBuf};

mod decisions;
mod errors;
mod first_words;
mod growth;
mod killing;
mod names;
mod one_order;
mod one_way;
mod words;

/// The folders of the workspace's members.
pub(crate) const MEMBERS: [&str; 10] =
    ["core", "tokio", "sim", "supervisor", "snapshots", "examples", "fuzz", "tests", "bench", "spec"];

/// Folders in them that belong to no member: what is built, and proofs in workspaces of their own.
const NO_MEMBERS: [&str; 2] = ["target", "proofs"];

/// Calls `see` with each Rust file below `within`, a folder or a file from the workspace's directory, in the order of their
/// names: its path from there, and its text.
pub(crate) fn each_file(within: &str, see: &mut impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    walk(root, &root.join(within), see);
}

fn walk(root: &Path, path: &Path, see: &mut impl FnMut(&str, &str)) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut entries: Vec<PathBuf> =
            entries.filter(|entry| !NO_MEMBERS.iter().any(|not| entry.ends_with(not))).collect();
        entries.sort();
        return entries.iter().for_each(|entry| walk(root, entry, see));
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        let name = path.strip_prefix(root).expect("below the root").to_str().expect("a name in UTF-8");
        see(name, &fs::read_to_string(path).expect("a source file"));
    }
}
