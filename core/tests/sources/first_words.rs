//! The first sentence of a doc comment is a verb phrase or a noun phrase: an index of the items shows it
//! alone.
use crate::{MEMBERS, each_file};

/// The first words of questions in disguise, of conditions, and of sentences whose subject is a pronoun.
const FORBIDDEN: &str = "How If It That There They What Whatever When Where Wherever Whether Which Whichever \
                         Who Whoever Whom Whose Why";
/// The words behind "One" that make a pronoun of it: before a noun it is a number.
const AFTER_ONE: [&str; 8] = ["can", "has", "is", "may", "on", "that", "which", "with"];

/// Returns the first two words of each doc comment in `text`, with the line in which it begins.
fn first_words(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut found = Vec::new();
    let mut before = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let marker = ["///", "//!"].into_iter().find(|marker| line.starts_with(marker));
        let begins = marker.is_some() && marker != before;
        before = marker;
        if begins && !line.starts_with("////") {
            let words = line[3..].split_whitespace().take(2);
            found.push((number + 1, words.map(|word| word.trim_end_matches([',', '.', ':', ';'])).collect()));
        }
    }
    found
}

/// Returns whether a doc comment must not begin with `words`.
fn is_forbidden(words: &[&str]) -> bool {
    match words {
        ["One", next, ..] => AFTER_ONE.contains(next),
        [first, ..] => FORBIDDEN.split(' ').any(|word| word == *first),
        [] => false,
    }
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let mut found = Vec::new();
    for member in MEMBERS {
        each_file(member, &mut |file, text| {
            let wrong = first_words(text).into_iter().filter(|(_, words)| is_forbidden(words));
            found.extend(wrong.map(|(line, words)| format!("{file}:{line}: {}", words.join(" "))));
        });
    }
    let rule = "begin with a verb (\"Returns whether ...\") or a noun (\"The number of ...\")";
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn first_words_are_found() {
    // Not written as comments here, which would be found.
    for (text, lines) in [
        ("##/ Whether it runs.", &[1][..]),
        ("##/ Returns whether it runs.\n##/ What else there is.", &[]),
        ("##! How it runs.\n\n    ##/ Why.\n##/ When.\nfn f();\n##/ One that runs.", &[1, 3, 6]),
        ("##/ One run.\n#[test]\n##/ `What` is code. If not, it is none.", &[]),
        ("## What a plain comment says.", &[]),
    ] {
        let text = text.replace("##", "//");
        let found = first_words(&text).into_iter().filter(|(_, words)| is_forbidden(words));
        assert_eq!(found.map(|(line, _)| line).collect::<Vec<_>>(), lines, "{text}");
    }
}
