//! Types that a caller can match on or construct can grow in a later release: each public enum, and each struct with public fields, of the
//! two public modules is `#[non_exhaustive]`.
use std::collections::BTreeMap;

use crate::each_file;

/// The modules of `core/src/lib.rs` that are the interface.
const MODULES: [&str; 2] = ["daemon", "supervisor"];

/// Types that need not grow, and why.
const ALLOWED: [(&str, &str); 2] = [
    ("SealProgress", "part of a message: another field is another version of the protocol"),
    ("Sealed", "part of a message: another field is another version of the protocol"),
];

/// Returns the text between `begin` and the next `end` after it.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = text.split_once(begin).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(inner, _)| inner)
}

/// The names that `module` passes on.
fn names<'a>(library: &'a str, module: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("pub mod {module} {{");
    let body = between(library, &begin, "\n}");
    body.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|name| name.starts_with(char::is_uppercase))
}

/// The public types that `code` defines: each name, and whether it could not grow.
fn types(code: &str) -> Vec<(String, bool)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let declared = line.trim_start();
        let is_enum = declared.starts_with("pub enum ");
        let rest = declared.strip_prefix("pub enum ").or_else(|| declared.strip_prefix("pub struct "));
        let Some(rest) = rest else { continue };
        let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let attributes = lines[..at].iter().rev().map(|line| line.trim_start());
        let may_grow = attributes
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
            .any(|line| line == "#[non_exhaustive]");
        let indent = line.len() - declared.len();
        let end = format!("{}}}", " ".repeat(indent));
        let is_open = declared.contains("(pub ")
            || declared.ends_with('{')
                && lines[at + 1..]
                    .iter()
                    .take_while(|line| **line != end)
                    .any(|line| line.trim_start().starts_with("pub "));
        found.push((name.to_owned(), (is_enum || is_open) && !may_grow));
    }
    found
}

#[test]
fn what_is_public_may_grow() {
    let mut library = String::new();
    let mut known = BTreeMap::new();
    each_file("core/src", &mut |file, text| {
        if file == "core/src/lib.rs" {
            text.clone_into(&mut library);
        }
        known.extend(types(text));
    });
    let public: Vec<&str> = MODULES.iter().flat_map(|module| names(&library, module)).collect();
    assert!(public.len() > 40, "the public modules are not found: {public:?}");
    let is_fixed = |name: &&&str| known.get(**name).is_some_and(|is_fixed| *is_fixed);
    let allowed = |name: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == name);
    let fixed: Vec<&&str> = public.iter().filter(is_fixed).collect();
    let wrong: Vec<_> = fixed.iter().filter(|name| !allowed(name)).collect();
    assert!(wrong.is_empty(), "#[non_exhaustive], and a constructor if callers make them: {wrong:?}");
    let stale: Vec<_> = ALLOWED.iter().filter(|(name, _)| !fixed.contains(&name)).collect();
    assert!(stale.is_empty(), "these may grow by now, or are not public: {stale:?}");
}

#[test]
fn types_that_can_not_grow_are_found() {
    let code = "
#[derive(Debug)]
pub enum FixedEnum {
    A,
}
#[non_exhaustive]
#[derive(Debug)]
pub enum OpenEnum {
    A,
}
pub struct ClosedStruct {
    private: u8,
}
pub struct BareStruct {
    pub field: u8,
}
pub struct TupleStruct(pub u8);
pub struct OpaqueStruct(u8);
";
    let found: Vec<String> =
        types(code).into_iter().filter(|(_, is_fixed)| *is_fixed).map(|(name, _)| name).collect();
    assert_eq!(found, ["FixedEnum", "BareStruct", "TupleStruct"]);
    let library = "pub mod daemon {\n    pub use crate::unix::{\n        Ended, run,\n    };\n}\n";
    assert_eq!(names(library, "daemon").collect::<Vec<_>>(), ["Ended"]);
}
