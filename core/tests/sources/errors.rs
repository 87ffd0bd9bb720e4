//! A caller can tell what went wrong, and do something about it: no function gives a mere text as its error.
use crate::each_file;

const SOURCES: [&str; 5] = ["core/src", "sim/src", "supervisor/src", "examples/demo/src", "tests/src"];

/// The types that are given to each `Result` in `code`: two, or one where the error is an alias's.
fn results(code: &str) -> impl Iterator<Item = Vec<&str>> {
    code.match_indices("Result<").map(|(at, begin)| {
        let inner = &code[at + begin.len()..];
        let (mut depth, mut from, mut types) = (0, 0, Vec::new());
        for (at, c) in inner.char_indices() {
            match c {
                // A function's arrow ends no list of types.
                '>' if inner[..at].ends_with('-') => {}
                '>' if depth == 0 => {
                    types.push(inner[from..at].trim());
                    break;
                }
                '<' | '(' | '[' => depth += 1,
                '>' | ')' | ']' => depth -= 1,
                ',' if depth == 0 => {
                    types.push(inner[from..at].trim());
                    from = at + 1;
                }
                _ => {}
            }
        }
        types
    })
}

fn is_text(types: &[&str]) -> bool {
    matches!(types, [_, "String" | "&str" | "&'static str" | "Box<str>", ..])
}

#[test]
fn no_error_is_a_mere_text() {
    let mut found = Vec::new();
    for source in SOURCES {
        each_file(source, &mut |file, text| {
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for types in results(code).filter(|types| is_text(types)) {
                found.push(format!("{file}: Result<{}>", types.join(", ")));
            }
        });
    }
    assert!(
        found.is_empty(),
        "give the error a type (thiserror), a variant a message:\n{}",
        found.join("\n")
    );
}

#[test]
fn texts_are_found() {
    for (code, is_found) in [
        ("fn a() -> Result<(), String> {", true),
        ("fn a() -> Result<Vec<(u32, BTreeMap<u8, u8>)>, String>;", true),
        ("type A = Box<dyn Fn(u32) -> Result<fn() -> u8, &'static str>>;", true),
        ("fn a() -> io::Result<String> {", false),
        ("fn a() -> Result<String, NoName> {", false),
        ("fn a() -> Result<(u8, String), Vec<String>> {", false),
    ] {
        assert_eq!(results(code).any(|types| is_text(&types)), is_found, "{code}");
    }
}
