//! Reads the keys of a TOML table one by one and remembers everything that is wrong with them.
//!
//! Deriving a struct would stop at the first mistake, and an operator that fixes a configuration wants to see them all.
//! What a table may hold is not listed anywhere: it is what was asked for.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, counted from 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// The key, with its table; empty if the text is not TOML at that place.
    pub key: String,
    /// The fault, and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The reason why a value is not of the kind that is read.
#[derive(Debug, Error)]
pub(crate) enum Mistyped {
    #[error("must be {expected}, not {article} {found}")]
    Kind { expected: String, article: &'static str, found: &'static str },
    #[error("{0:?} has a NUL byte, which ends a text for the system: leave it out")]
    Nul(String),
    #[error("must be {expected}, not {found}")]
    Range { expected: String, found: String },
    #[error("must be octal, \"0027\" or 0o027, and at most {most:04o}")]
    Octal { most: u32 },
}

impl Mistyped {
    fn of(expected: impl Into<String>, found: &DeValue<'_>) -> Mistyped {
        let found = found.type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        Mistyped::Kind { expected: expected.into(), article, found }
    }
}

/// The text of a file and the mistakes found in it so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Source { text, problems: RefCell::default() }
    }

    /// Parses the text, and returns what can be read of it. Of syntax errors the first is noted: what comes after it may
    /// follow from it.
    pub(crate) fn parse(&self) -> DeTable<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if let Some(error) = errors.first() {
            let line = error.span().map_or(0, |span| self.line(&span));
            self.note(line, "", error.message());
        }
        table.into_inner()
    }

    /// Returns whether nothing is wrong so far.
    pub(crate) fn is_good(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Returns whether something is wrong with `key`.
    pub(crate) fn has_problem_with(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == key)
    }

    /// The line of each key, by its full name: `journal`, `listeners[0].addr`.
    pub(crate) fn lines(&self, table: &DeTable<'_>) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        self.add_lines(table, "", &mut lines);
        lines
    }

    fn add_lines(&self, table: &DeTable<'_>, prefix: &str, lines: &mut BTreeMap<String, usize>) {
        for (name, value) in table.iter() {
            let key = format!("{prefix}{}", name.get_ref());
            let entries = value.get_ref().as_array().into_iter().flat_map(|array| array.iter().enumerate());
            for (index, entry) in entries {
                if let Some(table) = entry.get_ref().as_table() {
                    self.add_lines(table, &format!("{key}[{index}]."), lines);
                }
            }
            lines.insert(key, self.line(&value.span()));
        }
    }

    pub(crate) fn note(&self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { line, key: key.into(), message: message.into() });
    }

    /// The mistakes, in the order of the lines.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A value and the line that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtLine<T> {
    pub(crate) line: usize,
    pub(crate) value: T,
}

/// One table of the file.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    prefix: String,
    line: usize,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Self {
        Fields { source, table, prefix: String::new(), line: 0, asked: Vec::new() }
    }

    /// The value of `key`, as `read` understands it. `read` says what it expects where it doesn't.
    pub(crate) fn optional<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, E>,
    ) -> Option<AtLine<T>> {
        self.asked.push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let line = self.source.line(&value.span());
        match read(value.get_ref()) {
            Ok(value) => Some(AtLine { line, value }),
            Err(error) => {
                self.source.note(line, self.full(key), error.to_string());
                None
            }
        }
    }

    /// As [`Fields::optional`], and a missing key is a mistake.
    pub(crate) fn required<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, E>,
    ) -> Option<AtLine<T>> {
        if !self.table.iter().any(|(name, _)| name.get_ref() == key) {
            self.asked.push(key);
            self.source.note(self.line, self.full(key), "is missing");
            return None;
        }
        self.optional(key, read)
    }

    /// The entries of the array `key`, each as `read` understands it.
    pub(crate) fn list<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        read: impl Fn(&'a DeValue<'a>) -> Result<T, E>,
    ) -> Vec<AtLine<T>> {
        let Some(entries) = self.optional(key, array) else { return Vec::new() };
        let mut read_entry = |(index, entry): (usize, &'a Spanned<DeValue<'a>>)| {
            let line = self.source.line(&entry.span());
            let note =
                |error: E| self.source.note(line, format!("{}[{index}]", self.full(key)), error.to_string());
            read(entry.get_ref()).map_err(note).ok().map(|value| AtLine { line, value })
        };
        entries.value.iter().enumerate().filter_map(&mut read_entry).collect()
    }

    /// The tables of the array of tables `key`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Fields<'a>> {
        let tables = self.list(key, table);
        let fields = |(index, table): (usize, AtLine<&'a DeTable<'a>>)| Fields {
            source: self.source,
            table: table.value,
            prefix: format!("{}[{index}].", self.full(key)),
            line: table.line,
            asked: Vec::new(),
        };
        tables.into_iter().enumerate().map(fields).collect()
    }

    /// Notes a mistake in `key` that its type did not show.
    pub(crate) fn note(&self, line: usize, key: &str, message: impl Into<String>) {
        self.source.note(line, self.full(key), message);
    }

    /// Notes every key that was not asked for as a mistake.
    pub(crate) fn finish(self) {
        for (name, _) in self.table.iter() {
            if !self.asked.contains(&name.get_ref().as_ref()) {
                let line = self.source.line(&name.span());
                let message = format!("unknown key; allowed here: {}", self.asked.join(", "));
                self.source.note(line, self.full(name.get_ref()), message);
            }
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// Reads a string.
///
/// A string with a NUL byte is refused: paths, arguments and variables end there for the system.
pub(crate) fn string<'a>(value: &'a DeValue<'a>) -> Result<&'a str, Mistyped> {
    let text = value.as_str().ok_or_else(|| Mistyped::of("a string", value))?;
    if text.contains('\0') {
        return Err(Mistyped::Nul(text.to_owned()));
    }
    Ok(text)
}

/// Reads a table.
pub(crate) fn table<'a>(value: &'a DeValue<'a>) -> Result<&'a DeTable<'a>, Mistyped> {
    value.as_table().ok_or_else(|| Mistyped::of("a table", value))
}

/// Reads `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Mistyped> {
    value.as_bool().ok_or_else(|| Mistyped::of("true or false", value))
}

/// Reads an integer within `range`.
pub(crate) fn integer(value: &DeValue<'_>, range: Range<u64>) -> Result<u64, Mistyped> {
    let expected = || format!("a whole number from {} to {}", range.start, range.end - 1);
    let digits = value.as_integer().ok_or_else(|| Mistyped::of(expected(), value))?;
    u64::from_str_radix(digits.as_str(), digits.radix())
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Mistyped::Range { expected: expected(), found: digits.to_string() })
}

/// Reads permission bits: `"0660"` or `0o660`. A plain 660 could mean either.
pub(crate) fn octal(value: &DeValue<'_>, most: u32) -> Result<u32, Mistyped> {
    let digits = match value {
        DeValue::Integer(digits) if digits.radix() == 8 => digits.as_str(),
        DeValue::String(digits) => digits,
        _ => "",
    };
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= most);
    bits.ok_or(Mistyped::Octal { most })
}

/// Reads a number, whole or not.
pub(crate) fn number(value: &DeValue<'_>) -> Result<f64, Mistyped> {
    let parsed = match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(int) => i64::from_str_radix(int.as_str(), int.radix()).ok().map(|int| int as f64),
        _ => None,
    };
    parsed.ok_or_else(|| Mistyped::of("a number", value))
}

fn array<'a>(value: &'a DeValue<'a>) -> Result<&'a DeArray<'a>, Mistyped> {
    value.as_array().ok_or_else(|| Mistyped::of("an array", value))
}
