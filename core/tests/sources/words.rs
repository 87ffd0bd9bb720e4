//! The subject of a sentence is a role or a type. A word that stands for a person leaves open which process, user or thread is
//! meant.
use crate::{MEMBERS, each_file};

/// Such words, of which the documentation's pages have none either.
const PERSONS: &str = include_str!("persons.txt");
/// Another one; but that nobody serves is a term of the protocol's.
const NOBODY: &str = "nobody";

/// The words of the comments in `text`, each with its line. What is code in them is left out.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // In an address or a string it begins no comment.
        let begin = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with([':', '"', '/']));
        let comment = begin.map_or("", |(at, _)| &line[at..]);
        let prose = comment.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let separate = |c: char| !c.is_alphanumeric() && c != '_' && c != '\'';
        let found = prose.split(separate).filter(|word| !word.is_empty());
        words.extend(found.map(|word| (number + 1, word.to_lowercase())));
    }
    words
}

/// The forbidden ones among `words`.
fn forbidden(words: &[(usize, String)]) -> Vec<&(usize, String)> {
    let is_term = |at: usize| {
        words[at].1 == NOBODY && words.get(at + 1).is_some_and(|(_, next)| next.starts_with("serve"))
    };
    let is_person = |word: &str| word == NOBODY || PERSONS.lines().any(|person| person == word);
    let plain = |word: &str| word.trim_end_matches("'s").to_owned();
    let found = words.iter().enumerate().filter(|(at, (_, word))| is_person(&plain(word)) && !is_term(*at));
    found.map(|(_, word)| word).collect()
}

#[test]
fn comments_name_the_role_or_the_type_that_they_are_about() {
    let mut found = Vec::new();
    for member in MEMBERS {
        each_file(member, &mut |file, text| {
            let words = words(text);
            found.extend(forbidden(&words).iter().map(|(line, word)| format!("{file}:{line}: {word}")));
        });
    }
    assert!(found.is_empty(), "say which process, user or thread:\n{}", found.join("\n"));
}

#[test]
fn words_are_found() {
    // Not written as comments here, which would be found.
    for (text, lines) in [
        ("##/ Finds out who serves.", &[1][..]),
        ("let x = 1; ## somebody's", &[1]),
        ("##! Nobody\n##! serves; nobody listens.", &[2]),
        ("let who = \"who\"; ## the `who` of https:##who", &[1]),
        ("let who = \"https:##who\";", &[]),
    ] {
        let words = words(&text.replace("##", "//"));
        let found: Vec<usize> = forbidden(&words).iter().map(|(line, _)| *line).collect();
        assert_eq!(found, lines, "{text}");
    }
}
