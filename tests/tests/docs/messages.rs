//! Every message that a program can print has an entry in `docs/troubleshoot.md`, and every entry is one of a message.
//!
//! A *message* is a text of more than one word in the sources of the library, of the supervisor and of the library for async daemons, with
//! `…` for what is put into it. Texts of tests, of attributes other than `#[error]`, of assertions, and of what is logged as
//! information or below are none. What else is none is in `no-messages.txt`, with the reason.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use handoff_tests::lists::listed;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::shell::code_in;
use crate::{read, root};

const PAGE: &str = "docs/troubleshoot.md";
const SOURCES: [&str; 3] = ["core/src", "supervisor/src", "tokio/src"];
/// Macros whose texts no operator has to understand.
const SILENT: [&str; 9] =
    ["assert", "assert_eq", "assert_ne", "concat", "debug", "debug_assert", "env", "info", "trace"];
/// Files whose texts are results, names, or the help of metrics, as a whole.
const NO_MESSAGES: [&str; 5] = [
    "core/src/machine/names.rs",
    "supervisor/src/cli/watch.rs",
    "supervisor/src/exit.rs",
    "supervisor/src/metrics.rs",
    "supervisor/src/text.rs",
];

/// The text of a literal as in a source, with what is put into it as `…` and one space between words.
fn text_of(literal: &str) -> Option<String> {
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    let (mut plain, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some('n' | 'r')) => plain.extend(chars.next().map(|_| ' ')),
            ('\\', _) => plain.extend(chars.next()),
            ('{', Some('{')) | ('}', Some('}')) => plain.extend(chars.next()),
            ('{', _) => {
                while chars.next().is_some_and(|c| c != '}') {}
                plain.push('…');
            }
            _ => plain.push(c),
        }
    }
    Some(plain.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns whether a text says something: it has several words, at least one of them of its own.
fn is_message(text: &str) -> bool {
    let is_word = |word: &str| word.chars().filter(char::is_ascii_lowercase).count() > 1;
    text.contains(' ') && text.split(' ').any(is_word)
}

fn begins_with(group: &Group, name: &str) -> bool {
    group.stream().into_iter().next().is_some_and(|first| first.to_string() == name)
}

/// Adds the messages in `tokens` to `found`.
fn messages_in(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct =
        |at: usize, c| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                at += usize::from(is_punct(at, '!'));
                let Some(TokenTree::Group(attribute)) = tokens.get(at) else { continue };
                at += 1;
                if begins_with(attribute, "error") {
                    messages_in(attribute.stream(), found);
                } else if begins_with(attribute, "cfg") && attribute.to_string().contains("(test") {
                    let is_end = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        other => other.to_string() == ";",
                    };
                    at += tokens[at..].iter().position(is_end).map_or(0, |end| end + 1);
                }
            }
            TokenTree::Ident(name) if is_punct(at, '!') && SILENT.iter().any(|silent| name == silent) => {
                at += 2
            }
            TokenTree::Literal(literal) => {
                found.extend(text_of(&literal.to_string()).filter(|text| is_message(text)));
            }
            TokenTree::Group(group) => messages_in(group.stream(), found),
            _ => {}
        }
    }
}

fn messages_below(path: &Path, found: &mut BTreeSet<String>) {
    if path.ends_with("tests")
        || path.ends_with("tests.rs")
        || NO_MESSAGES.iter().any(|file| path.ends_with(file))
    {
        return;
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.for_each(|entry| messages_below(&entry, found));
    }
    let source = fs::read_to_string(path).unwrap();
    messages_in(source.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display())), found);
}

/// The messages of the page, and what it says of them, in the order of its rows.
fn entries() -> Vec<(Vec<String>, String)> {
    let page = read(PAGE);
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.trim_end_matches('|').trim_end());
    let messages_of = |cell: &str| code_in(&format!("`{cell}")).map(String::from).collect();
    let cells = rows.map(|row| row.split_once(" | ").unwrap_or((row, "")));
    cells.map(|(messages, meaning)| (messages_of(messages), meaning.to_string())).collect()
}

#[test]
fn every_message_has_an_entry_and_every_entry_a_message() {
    let mut printed = BTreeSet::new();
    SOURCES.iter().for_each(|source| messages_below(&root().join(source), &mut printed));
    let none: BTreeSet<String> =
        listed(&root().join("tests/tests/docs/no-messages.txt")).into_keys().collect();
    let mut known = none.clone();
    let mut wrong = Vec::new();
    for (messages, meaning) in entries() {
        wrong.extend(meaning.is_empty().then(|| format!("{PAGE} does not say what it means: {messages:?}")));
        let again = messages.into_iter().filter(|message| !known.insert(message.clone()));
        wrong.extend(
            again.map(|message| format!("{PAGE} has it twice, or no-messages.txt has it, too: {message}")),
        );
    }
    wrong.extend(printed.difference(&known).map(|message| format!("{PAGE} has no entry: {message}")));
    wrong.extend(known.difference(&printed).map(|message| format!("nothing prints it any more: {message}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(printed.len() > 400, "only {} messages were found", printed.len());
}

#[test]
fn messages_are_found_and_other_texts_are_not() {
    let source = r#"
        #[doc = "no message"]
        enum A { #[error("it has {found:?}, not {{1}}, at \"{0}\"")] B }
        #[cfg(test)]
        mod tests { fn a() { error("not this one") } }
        fn b() { info!("nor that"); warn!("but \
                                         this"); c("word"); d("two\r\nlines") }
    "#;
    let mut found = BTreeSet::new();
    messages_in(source.parse().unwrap(), &mut found);
    let expected = ["but this", "it has …, not {1}, at \"…\"", "two lines"].map(String::from);
    assert_eq!(found, BTreeSet::from(expected));
}
