//! Lists of what is left out somewhere, each name with its reason.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Returns what the list at `path` names, and why: names below a reason in a line of its own, `## reason`.
/// Other lines that begin with `#` are comments.
///
/// # Panics
/// The list can't be read, a name has no reason, or is there twice.
pub fn listed(path: &Path) -> BTreeMap<String, String> {
    let file = path.display();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut reason = String::new();
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match (line.strip_prefix("## "), line.starts_with('#')) {
            (Some(why), _) => reason = why.into(),
            (None, true) => {}
            (None, false) => {
                assert!(!reason.is_empty(), "{file}: {line} has no reason");
                assert_eq!(listed.insert(line.into(), reason.clone()), None, "{file}: {line} is there twice");
            }
        }
    }
    listed
}
