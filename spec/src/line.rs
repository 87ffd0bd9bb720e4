//! The reading of a trace's lines.

/// One line: when, which process, what.
#[derive(Debug)]
pub(crate) struct TraceLine {
    pub(crate) time: String,
    /// The process whose line this is; the supervisor is 0.
    pub(crate) process: u32,
    /// The sender of the frame that began the turn.
    pub(crate) sender: Option<u32>,
    pub(crate) text: String,
    pub(crate) turn: Option<TurnLine>,
}

/// A turn of a machine: from which state to which, and what it did.
#[derive(Debug)]
pub(crate) struct TurnLine {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) effects: Vec<String>,
}

/// The number of a process: `D2` is 2, and every supervisor is 0.
pub(crate) fn process(name: &str) -> Option<u32> {
    if name.strip_prefix('S').is_some_and(|rest| rest.parse::<u32>().is_ok()) {
        Some(0)
    } else {
        daemon(name)
    }
}

/// The number of a daemon.
pub(crate) fn daemon(name: &str) -> Option<u32> {
    name.strip_prefix('D').and_then(|rest| rest.parse().ok())
}

impl TraceLine {
    /// Reads a line; lines that belong to no process are none.
    pub(crate) fn parse(line: &str) -> Option<TraceLine> {
        let line = line.trim_start();
        let (time, rest) = line.split_once(char::is_whitespace)?;
        time.parse::<f64>().ok()?;
        let (named, rest) = rest.trim_start().split_once(char::is_whitespace)?;
        let (sender, process) = match named.split_once('>') {
            Some((sender, receiver)) => (Some(self::process(sender)?), self::process(receiver)?),
            None => (None, self::process(named)?),
        };
        let (text, turn) = TurnLine::parse(rest.trim());
        Some(TraceLine { time: time.into(), process, sender, text, turn })
    }
}

impl TraceLine {
    /// Returns whether the line says that the process dies; the turn in which it dies is the next line.
    pub(crate) fn is_death(&self) -> bool {
        let deaths = ["dies ", "dies, ", "ends itself: its store"];
        self.turn.is_none()
            && (self.text == "is killed" || deaths.iter().any(|death| self.text.starts_with(death)))
    }

    /// Returns whether the line says that the process is stopped; the turn in which it is stopped is the next
    /// line.
    pub(crate) fn is_stop(&self) -> bool {
        self.text.starts_with("*** stop")
    }
}

impl TurnLine {
    /// Splits what began a turn from the turn, if the text is one: `... [from > to]  effect; effect`.
    fn parse(text: &str) -> (String, Option<TurnLine>) {
        let open = text.match_indices('[').map(|(at, _)| at).find(|at| {
            let inside = text[at + 1..].split(']').next().unwrap_or_default();
            !inside.is_empty() && inside.chars().all(|c| c.is_ascii_lowercase() || "-> ".contains(c))
        });
        let Some(open) = open else { return (text.into(), None) };
        let (states, effects) = text[open + 1..].split_once(']').unwrap_or_default();
        let (from, to) = states.split_once(" > ").unwrap_or((states, states));
        let effects = effects.trim().split("; ").filter(|effect| !effect.is_empty()).map(String::from);
        let turn = TurnLine { from: from.into(), to: to.into(), effects: effects.collect() };
        (text[..open].trim().into(), Some(turn))
    }
}
