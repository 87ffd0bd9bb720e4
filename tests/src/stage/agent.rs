//! A process on the stage: tells the controller what it does, and does what it is told.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use handoff::host::Gap;
use handoff::machine::{Cell, supervisor::Peer};
use handoff::message::{Hello, Message, PROTO_MAX, PROTO_MIN};
use handoff::unix::probe::{self, Fate, FrameFate, Probe, Receiver, SystemCall};
use handoff_sim::plan::{HitRole, What};

use super::words::{Death, Instruction, Word};
use crate::layout::Layout;
use crate::script::{Act, HookName};

static AGENT: OnceLock<Arc<Agent>> = OnceLock::new();

/// This process, as the controller knows it.
#[derive(Debug)]
pub struct Agent {
    controller: Mutex<BufReader<UnixStream>>,
    /// The quirk of its first word.
    quirk: Option<What>,
}

impl Agent {
    /// Goes on stage: from here on the controller of the world in `layout` decides what goes wrong here.
    pub fn enter(layout: &Layout, is_supervisor: bool) {
        let stream = UnixStream::connect(layout.controller()).unwrap();
        let mut agent = Agent { controller: Mutex::new(BufReader::new(stream)), quirk: None };
        agent.quirk = agent.ask(&Word::Born { is_supervisor, pid: std::process::id() }).what;
        match agent.quirk {
            Some(What::DieEarly) => std::process::exit(9),
            Some(What::Hang) => thread::sleep(Duration::from_secs(3600)),
            _ => {}
        }
        let agent = Arc::new(agent);
        let _ = AGENT.set(Arc::clone(&agent));
        probe::install(OnStage(agent));
    }

    fn say(&self, word: &Word) {
        let mut line = serde_json::to_vec(word).unwrap();
        line.push(b'\n');
        // When the test is over there is no controller to hear it.
        let _ = self.controller.lock().unwrap().get_mut().write_all(&line);
    }

    fn ask(&self, word: &Word) -> Instruction {
        let mut line = serde_json::to_vec(word).unwrap();
        line.push(b'\n');
        let mut controller = self.controller.lock().unwrap();
        let mut answer = String::new();
        let asked = controller.get_mut().write_all(&line).and_then(|()| controller.read_line(&mut answer));
        asked.ok().and_then(|_| serde_json::from_str(&answer).ok()).unwrap_or_default()
    }

    /// Returns what this process says of itself instead of `hello`.
    fn altered(&self, hello: &Hello) -> Option<Hello> {
        let (proto_min, proto_max) = match self.quirk? {
            What::OtherVersion => (PROTO_MAX + 1, PROTO_MAX + 2),
            What::NewerVersion => (PROTO_MIN, PROTO_MAX + 1),
            What::WrongPid => return Some(Hello { pid: hello.pid + 1, ..hello.clone() }),
            _ => return None,
        };
        Some(Hello { proto_min, proto_max, ..hello.clone() })
    }

    fn altered_message(&self, message: &Message) -> Option<Message> {
        match message {
            Message::Hello(hello) => self.altered(hello).map(Message::Hello),
            Message::Heartbeat { standing, repeats: Some(repeated) } => {
                let repeats = Some(Box::new(self.altered_message(repeated)?));
                Some(Message::Heartbeat { standing: *standing, repeats })
            }
            _ => None,
        }
    }
}

/// The probe that the core asks.
struct OnStage(Arc<Agent>);

impl Probe for OnStage {
    fn handles(&self, cell: Cell) {
        self.0.say(&Word::Handles { cell: cell.to_string() });
    }

    fn gap(&self, Gap { role, state, before }: Gap, step: Option<SystemCall>) -> Fate {
        let answer = self.0.ask(&Word::Gap {
            role: role.to_string(),
            state: state.to_string(),
            before: before.map(|effect| effect.to_string()),
            step: step.map(|step| step.to_string()),
        });
        match (answer.what, answer.death) {
            (None, _) => Fate::LivesOn,
            (Some(What::Stop), _) => Fate::IsStopped,
            (Some(What::Fail), _) => Fate::Fails,
            (Some(_), Death::Exit) => Fate::Exits,
            (Some(_), Death::Kill) => Fate::IsKilled,
        }
    }

    fn frame(&self, to: Receiver, message: &Message) -> FrameFate {
        let role = match to.role {
            Some(Peer::Incumbent) => Some(HitRole::Incumbent),
            Some(Peer::Successor) => Some(HitRole::Successor),
            None => None,
        };
        let answer = self.0.ask(&Word::Frame { role, pid: to.pid, message: message.name().to_string() });
        match answer.what {
            Some(What::Drop) => FrameFate::IsLost,
            Some(What::Delay) => FrameFate::IsLate(Duration::from_millis(answer.ms)),
            Some(What::Tear) => FrameFate::IsCut,
            Some(What::Reset) => FrameFate::Resets,
            _ => match self.0.altered_message(message) {
                Some(other) => FrameFate::Becomes(Box::new(other)),
                None => FrameFate::Arrives,
            },
        }
    }
}

/// Returns what the controller says is to be done as `hook` begins; nothing off the stage.
pub fn cue(hook: HookName) -> Option<Act> {
    let answer = AGENT.get()?.ask(&Word::Hook(hook.to_string()));
    Some(match (answer.what?, hook) {
        (What::Fail, _) => Act::Fail,
        (What::Panic, _) => Act::Panic,
        (What::Hang, _) => Act::Hang,
        (What::Slow, _) => Act::Slow(answer.ms),
        (What::Unfit, HookName::Drain) => Act::StillAccepting,
        (What::Unfit, _) => Act::Unhealthy,
        _ => Act::Exit,
    })
}

/// Returns how much of `length` bytes is written before this process dies over it, if it does.
pub fn write_fate(length: usize) -> Option<usize> {
    let answer = AGENT.get()?.ask(&Word::DataWrite);
    answer.what.map(|_| length / 2)
}
