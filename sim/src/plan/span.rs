//! Lengths of virtual time, as a plan spells them: `"300us"`, `"1.5ms"`, `"2s"`.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BadPlan;

/// A length of virtual time, in whole microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

impl Span {
    /// So many microseconds.
    pub const fn from_micros(micros: u64) -> Span {
        Span(micros)
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis * 1000)
    }

    /// In microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us < 1000 => write!(f, "{us}us"),
            us if us.is_multiple_of(1_000_000) => write!(f, "{}s", us / 1_000_000),
            us if us.is_multiple_of(1000) => write!(f, "{}ms", us / 1000),
            us => write!(f, "{}ms", us as f64 / 1000.0),
        }
    }
}

impl FromStr for Span {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let bad =
            || BadPlan(format!("{text:?} is no length of time: a number and us, ms or s, such as \"1.5ms\""));
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "us" => 1.0,
            "ms" => 1000.0,
            "s" => 1_000_000.0,
            _ => return Err(bad()),
        };
        let number: f64 = digits.trim().parse().map_err(|_| bad())?;
        // A week: nothing in a run is longer.
        if !(0.0..=604_800_000_000.0).contains(&(number * unit)) {
            return Err(bad());
        }
        Ok(Span((number * unit).round() as u64))
    }
}

impl TryFrom<String> for Span {
    type Error = BadPlan;

    fn try_from(text: String) -> Result<Self, BadPlan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_as_it_is_written() {
        for micros in [0, 1, 999, 1000, 1500, 1_000_000, 1_234_567] {
            let span = Span::from_micros(micros);
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "3", "ms", "-1ms", "1e99s", "3 parsecs"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
