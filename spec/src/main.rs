//! Turns golden traces into what `Trace.tla` reads: `handoff-spec FROM TO` makes one configuration for each snapshot.
//!
//! The program knows how a trace is written, and nothing of the protocol: which step of the specification an event is,
//! and whether that step is possible, `Trace.tla` says.
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, process};

mod line;

use line::{TraceLine, TurnLine};

/// One event as `Trace.tla` reads it. The supervisor is the process 0.
#[derive(Clone, Debug, Default)]
struct SpecEvent {
    kind: &'static str,
    process: u32,
    peer: u32,
    event: String,
    word: String,
    number: u32,
    from: String,
    to: String,
    does: Vec<&'static str>,
    says: Vec<(String, u32)>,
    verdict: String,
    /// `true` if the process died in this turn: what the turn did is not all that it would have done.
    cut: bool,
}

impl SpecEvent {
    fn new(process: u32, event: &str, word: &str) -> SpecEvent {
        SpecEvent { kind: "turn", process, event: event.into(), word: word.into(), ..SpecEvent::default() }
    }

    fn happens(process: u32, event: &str, word: &str) -> SpecEvent {
        SpecEvent { kind: "happens", ..SpecEvent::new(process, event, word) }
    }

    fn tla(&self) -> String {
        let does: Vec<String> = self.does.iter().map(|word| format!("{word:?}")).collect();
        let says: Vec<String> =
            self.says.iter().map(|(t, to)| format!("[t |-> {t:?}, to |-> {to}]")).collect();
        format!(
            "[kind |-> {:?}, p |-> {}, q |-> {}, e |-> {:?}, a |-> {:?}, n |-> {}, from |-> {:?}, to |-> {:?}, \
             does |-> {{{}}}, says |-> <<{}>>, v |-> {:?}, cut |-> {}]",
            self.kind,
            self.process,
            self.peer,
            self.event,
            self.word,
            self.number,
            self.from,
            self.to,
            does.join(", "),
            says.join(", "),
            self.verdict,
            if self.cut { "TRUE" } else { "FALSE" },
        )
    }
}

/// Messages that no rule of the handoff speaks of: what the recovery asks, and what is for people.
const ASIDE: [&str; 6] =
    ["StandingQuery", "StandingReport", "ListenersQuery", "Listeners", "SealProgress", "Refused"];

#[derive(Default)]
struct Converter {
    events: Vec<SpecEvent>,
    /// Daemons that serve no more, as a line before their turn has said.
    rests: Vec<u32>,
    /// Frames that are lost or links that are reset, as soon as the frame is sent.
    faults: Vec<(u32, String, &'static str)>,
    /// Generations of records that were asked for.
    asked: BTreeMap<u32, u32>,
}

impl Converter {
    fn push(&mut self, mut event: SpecEvent) {
        if let Some(index) = self.rests.iter().position(|process| *process == event.process) {
            event.does.push("rests");
            self.rests.remove(index);
        }
        self.events.push(event);
    }

    fn line(&mut self, line: &TraceLine, cut: bool) -> Result<(), String> {
        match &line.turn {
            Some(turn) => self.turn(line, turn, cut),
            None => self.told(line),
        }
    }

    /// A line that is no turn of a machine.
    fn told(&mut self, line: &TraceLine) -> Result<(), String> {
        let (process, text) = (line.process, line.text.as_str());
        if let Some(fault) = text.strip_prefix("*** ") {
            for (name, what) in [("drop: ", "drop"), ("reset: ", "reset"), ("tear: ", "reset")] {
                if let Some(frame) = fault.strip_prefix(name) {
                    let frame = frame.split(" to ").next().unwrap_or_default();
                    self.faults.push((process, frame.into(), what));
                }
            }
            return Ok(());
        }
        if text.starts_with("begins as ") {
            self.push(SpecEvent::new(process, "begins", ""));
        } else if text == "SERVES" {
            let last = self.events.iter_mut().rev().find(|event| event.process == process);
            last.ok_or("a daemon serves that was never seen")?.does.push("serves");
        } else if text == "serves no more" {
            self.rests.push(process);
        } else if text == "has ended" {
            self.push(SpecEvent::happens(process, "has ended", ""));
        } else if line.is_death() {
            let event = SpecEvent::happens(process, "dies", "");
            self.push(if process == 0 { SpecEvent { kind: "supervisor dies", ..event } } else { event });
        } else if let Some(hook) = text.strip_suffix(" has run") {
            if hook != "finalize" {
                self.push(SpecEvent::new(process, "ran", hook));
            }
        } else if let Some((hook, _)) = text.split_once(" fails: ") {
            self.push(SpecEvent::new(process, "fails", hook));
        }
        Ok(())
    }

    fn turn(&mut self, line: &TraceLine, turn: &TurnLine, cut: bool) -> Result<(), String> {
        let first = self.events.len();
        self.trigger(line, turn)?;
        for effect in &turn.effects {
            self.effect(line, turn, effect, first)?;
        }
        if self.events.len() == first {
            let moved = turn.from != turn.to && !cut;
            return if moved { Err(format!("nothing was understood: {}", line.text)) } else { Ok(()) };
        }
        for event in &mut self.events[first..] {
            event.cut = cut;
        }
        let turns = |event: &&mut SpecEvent| event.kind == "turn";
        // A process that starts has no state yet: the line names the one that it comes to.
        if let Some(event) =
            self.events[first..].iter_mut().find(turns).filter(|event| event.event != "starts")
        {
            event.from.clone_from(&turn.from);
        }
        if let Some(event) = self.events[first..].iter_mut().rev().find(turns) {
            event.to.clone_from(&turn.to);
        }
        self.struck(line.process, first);
        Ok(())
    }

    /// Puts the faults that hit what this turn has sent behind it.
    fn struck(&mut self, process: u32, first: usize) {
        let said: Vec<(String, u32)> =
            self.events[first..].iter().flat_map(|event| event.says.clone()).collect();
        for (message, to) in said {
            let hit = self.faults.iter().position(|(from, frame, _)| *from == process && *frame == message);
            if let Some(index) = hit {
                let (_, _, what) = self.faults.remove(index);
                self.events.push(SpecEvent::happens(if process == 0 { to } else { process }, what, ""));
            }
        }
    }

    /// Takes note of what began a turn.
    fn trigger(&mut self, line: &TraceLine, turn: &TurnLine) -> Result<(), String> {
        let process = line.process;
        let text = line.text.as_str();
        if let Some(sender) = line.sender {
            return self.frame(process, sender, text, turn);
        }
        let event = match text {
            "hook returned" => SpecEvent::new(process, "returned", ""),
            "hook failed" => SpecEvent::new(process, "failed", ""),
            "link closed" => SpecEvent::new(process, "closed", ""),
            "is connected to" => SpecEvent::happens(process, "connected", ""),
            "starts" => SpecEvent::new(process, "starts", ""),
            "timer SupervisorSilent" => SpecEvent::new(process, "silent", ""),
            "timer HookLimit" => SpecEvent::happens(process, "dies", ""),
            "path written" => SpecEvent::new(process, "path", ""),
            "lock: held" => SpecEvent::new(process, "held", ""),
            "record written" => SpecEvent {
                number: self.asked.remove(&process).unwrap_or(0),
                ..SpecEvent::new(process, "record", "")
            },
            "asked to swap" => SpecEvent::new(0, "asked", ""),
            "recovers" => SpecEvent::new(0, "recovers", ""),
            "incumbent has ended" => SpecEvent::new(0, "incumbent ended", ""),
            "successor has ended" => SpecEvent::new(0, "successor ended", ""),
            "cancelled" => SpecEvent::new(0, "cancelled", ""),
            "spawned" => SpecEvent::new(0, "spawns", ""),
            "can't connect: nobody listens" => SpecEvent::new(0, "refused", ""),
            "cold start" | "timer Retry" | "a daemon has ended" | "hook goes on" => return Ok(()),
            _ if text.starts_with("incumbent closed") => SpecEvent::new(0, "incumbent closed", ""),
            _ if text.starts_with("successor closed") => SpecEvent::new(0, "successor closed", ""),
            _ if text.starts_with('D') && text.ends_with(" closed") => return Ok(()),
            _ if text.starts_with("journal ") => return self.journal(text),
            _ if process == 0 && text.starts_with("timer ") => {
                if text == "timer Heartbeat" || (turn.from == turn.to && turn.effects.is_empty()) {
                    return Ok(());
                }
                SpecEvent::new(0, "timer", "")
            }
            _ if turn.from == turn.to && turn.effects.is_empty() => return Ok(()),
            _ => return Err(format!("an unknown event: {text}")),
        };
        self.push(event);
        Ok(())
    }

    fn frame(&mut self, process: u32, sender: u32, text: &str, turn: &TurnLine) -> Result<(), String> {
        let repeated = text.strip_prefix("Heartbeat(").and_then(|rest| rest.strip_suffix(')'));
        let message = repeated.unwrap_or(text);
        if ASIDE.contains(&message) {
            if message == "StandingReport" && turn.from == "await-serving" && turn.to != turn.from {
                self.push(SpecEvent { peer: sender, ..SpecEvent::new(0, "finds serving", "") });
            }
            return Ok(());
        }
        if repeated.is_some() {
            let (link, event) = if process == 0 {
                (sender, "beat of the daemon")
            } else {
                (process, "beat of the supervisor")
            };
            self.push(SpecEvent::happens(link, event, message));
        }
        self.push(SpecEvent { peer: sender, ..SpecEvent::new(process, "recv", message) });
        Ok(())
    }

    /// `journal X written`, `journal X not written`, `journal written`, `journal X asked for`.
    fn journal(&mut self, text: &str) -> Result<(), String> {
        let rest = text.strip_prefix("journal ").unwrap_or_default();
        let (note, event) = match rest {
            "written" => ("Recovered", "journal"),
            _ if rest.ends_with(" asked for") => return Ok(()),
            _ => match (rest.strip_suffix(" not written"), rest.strip_suffix(" written")) {
                (Some(note), _) => (note, "journal fails"),
                (None, Some(note)) => (note, "journal"),
                (None, None) => return Err(format!("an unknown note: {text}")),
            },
        };
        let note = note.strip_prefix("Over(").and_then(|note| note.strip_suffix(')')).unwrap_or(note);
        self.push(SpecEvent::new(0, event, note));
        Ok(())
    }

    /// One thing that a turn did. What a process waits for is an event of its own.
    fn effect(
        &mut self,
        line: &TraceLine,
        turn: &TurnLine,
        effect: &str,
        first: usize,
    ) -> Result<(), String> {
        let process = line.process;
        if effect.starts_with("journal ") {
            return self.journal(effect);
        }
        if let Some(started) = effect.strip_prefix("spawns ") {
            match line::daemon(started) {
                Some(peer) => self.push(SpecEvent { peer, ..SpecEvent::new(0, "spawns", "") }),
                None if started == "..." => {}
                None => self.push(SpecEvent::new(0, "spawn fails", "")),
            }
            return Ok(());
        }
        if let Some(rest) = effect.strip_prefix("record ") {
            let number = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            if rest.ends_with("asked for") {
                self.asked.insert(process, number);
            } else {
                self.push(SpecEvent { number, ..SpecEvent::new(process, "record", "") });
            }
            return Ok(());
        }
        match effect {
            "lock: held" => self.push(SpecEvent::new(process, "held", "")),
            "lock: busy" => {
                let again = line.text == "timer Retry";
                self.push(SpecEvent::new(process, "busy", if again { "again" } else { "" }));
            }
            "lock: asked" => {}
            "takes the path" if turn.to == "taking-path" => {}
            "takes the path" => self.push(SpecEvent::new(process, "path", "")),
            _ => return self.part(line, turn, effect, first),
        }
        Ok(())
    }

    /// An effect that belongs to the event before it.
    fn part(&mut self, line: &TraceLine, turn: &TurnLine, effect: &str, first: usize) -> Result<(), String> {
        // "before, ..." goes on with the reason of a report.
        if ["connects", "looks", "sees", "before, "].iter().any(|word| effect.starts_with(word)) {
            return Ok(());
        }
        if let Some((message, to)) = effect.split_once(" to ").filter(|(message, _)| !message.contains(' ')) {
            if ASIDE.contains(&message) {
                return Ok(());
            }
            let to = line::process(to).ok_or_else(|| format!("no known process: {effect}"))?;
            if message == "Final" && turn.from == "await-others" {
                self.push(SpecEvent::new(0, "final", ""));
            }
            self.last(first, effect)?.says.push((message.into(), to));
        } else if effect == "finalize begins" {
            self.last(first, effect)?.does.push("finalize");
        } else if effect.ends_with(" begins") {
            self.last(first, effect)?.does.push("hook");
        } else if effect == "unlocks" {
            self.last(first, effect)?.does.push("unlocks");
        } else if effect == "exits" {
            self.last(first, effect)?.does.push("exits");
        } else if effect.starts_with("kills ") {
            if self.events.len() == first {
                let peer = effect.strip_prefix("kills ").and_then(line::daemon).unwrap_or(0);
                self.push(SpecEvent { peer, ..SpecEvent::new(0, "kills", "") });
            }
            self.last(first, effect)?.does.push("kills");
        } else if let Some(report) = effect.strip_prefix("reports ") {
            let last = self.last(first, effect)?;
            last.does.push("reports");
            last.verdict = report.split(':').next().unwrap_or_default().into();
        } else if let Some(found) = effect.strip_prefix("finds: ") {
            let peer = found.strip_suffix(" serves").and_then(line::daemon).unwrap_or(0);
            let word = if peer != 0 {
                "Serves"
            } else if found == "NobodyServes" {
                "Nobody"
            } else {
                found
            };
            self.push(SpecEvent { peer, ..SpecEvent::new(0, "finds", word) });
        } else {
            return Err(format!("an unknown effect: {effect} of {}", line.text));
        }
        Ok(())
    }

    fn last(&mut self, first: usize, effect: &str) -> Result<&mut SpecEvent, String> {
        let events = &mut self.events[first..];
        events.last_mut().ok_or_else(|| format!("nothing to which this belongs: {effect}"))
    }
}

/// Puts each death behind the turn in which the process died, which the trace names after it, and says of each line whether it
/// is a turn in which the process died or was stopped.
fn ordered(lines: Vec<TraceLine>) -> Vec<(TraceLine, bool)> {
    let mut out: Vec<(TraceLine, bool)> = Vec::new();
    let mut death: Option<TraceLine> = None;
    let mut stopped: Option<(u32, String)> = None;
    let same = |a: &TraceLine, b: &TraceLine| a.process == b.process && a.time == b.time;
    let mut lines = VecDeque::from(lines);
    while let Some(line) = lines.pop_front() {
        if line.is_death() && lines.iter().any(|other| same(other, &line) && other.turn.is_some()) {
            death = Some(line);
            continue;
        }
        if line.is_stop() {
            stopped = Some((line.process, line.time.clone()));
        }
        let in_stop = stopped.as_ref().is_some_and(|(p, time)| *p == line.process && *time == line.time);
        let died = death.take_if(|death| line.turn.is_some() && same(death, &line));
        out.push((line, in_stop || died.is_some()));
        out.extend(died.map(|death| (death, false)));
    }
    out
}

/// The events of a trace.
fn events(text: &str) -> Result<Vec<SpecEvent>, String> {
    let mut converter = Converter::default();
    for (line, cut) in ordered(text.lines().filter_map(TraceLine::parse).collect()) {
        converter.line(&line, cut)?;
    }
    Ok(converter.events)
}

/// The configuration with which `Trace.tla` checks a trace.
fn configuration(text: &str, events: &[SpecEvent]) -> String {
    let most = |letter: char| {
        let number = |word: &str| word.strip_prefix(letter).and_then(|rest| rest.parse().ok());
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.filter_map(number).filter(|n: &u32| *n < 100).max().unwrap_or(1)
    };
    let first = events.iter().find(|event| event.process == 1);
    let start = if first.is_some_and(|event| event.event == "begins") { "nobody" } else { "serving" };
    let swaps = events.iter().filter(|event| event.event == "asked").count();
    let list: Vec<String> = events.iter().map(SpecEvent::tla).collect();
    let mut out = String::new();
    let _ = writeln!(out, "SPECIFICATION TSpec\nCONSTANTS");
    let _ = writeln!(out, "  Daemons = {}\n  Lives = {}\n  Swaps = {swaps}", most('D').max(2), most('S'));
    let _ = writeln!(
        out,
        "  Faults = 99\n  Kinds = {{\"crash\", \"loss\", \"reset\", \"timer\", \"hook\", \"disk\"}}"
    );
    let _ = writeln!(out, "  Flaw = \"none\"\n  Probe = 0\n  Start = {start:?}");
    let _ = writeln!(out, "  Events = <<\n    {}>>", list.join(",\n    "));
    out
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("handoff-spec SNAPSHOTS DIRECTORY");
        process::exit(2);
    };
    if let Err(error) = convert(Path::new(from), Path::new(to)) {
        eprintln!("handoff-spec: {error}");
        process::exit(1);
    }
}

fn convert(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    fs::create_dir_all(to).map_err(told)?;
    for entry in fs::read_dir(from).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.extension().is_none_or(|extension| extension != "snap") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(told)?;
        match events(&text) {
            Ok(events) => {
                let out = to.join(&name).with_extension("cfg");
                fs::write(out, configuration(&text, &events)).map_err(told)?;
            }
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}
