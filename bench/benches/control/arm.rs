//! The arms that are measured: each is one chain of handoffs, each replacing the daemon that the one before
//! it started.
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use handoff::Phases;

use super::ours::Ours;
use super::theirs::Theirs;

pub(crate) type BenchResult<T> = Result<T, Box<dyn Error>>;

/// Both libraries' daemons, and the floor's.
pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_idle-daemon");

/// A new process answers within this, or something is broken.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The arms, in the order of the table.
pub(crate) const NAMES: [&str; 5] = ["floor", "ours", "ours+journal", "peer", "peer+journal"];

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Until the call returned.
    pub(crate) returned: Duration,
    /// Until, besides, the old process had ended and the new one answered at the control path.
    pub(crate) complete: Duration,
    /// The phases that the library reports.
    pub(crate) phases: Option<Phases>,
}

/// The thing to be measured again and again.
pub(crate) trait Arm {
    /// Does it once.
    fn round(&mut self) -> BenchResult<Sample>;
}

/// The arm called `name`, one of [`NAMES`], with its files in `dir`.
pub(crate) fn start(name: &str, dir: &Path) -> BenchResult<Box<dyn Arm>> {
    Ok(match name {
        "floor" => Box::new(Floor),
        "ours" => Box::new(Ours::start(ChainPlace::make(dir, name)?, false)?),
        "ours+journal" => Box::new(Ours::start(ChainPlace::make(dir, name)?, true)?),
        "peer" => Box::new(Theirs::start(ChainPlace::make(dir, name)?, false)?),
        "peer+journal" => Box::new(Theirs::start(ChainPlace::make(dir, name)?, true)?),
        _ => return Err(format!("there is no arm {name:?}, only {NAMES:?}").into()),
    })
}

/// The least that replacing a process takes: to start the binary, and to see it end.
struct Floor;

impl Arm for Floor {
    fn round(&mut self) -> BenchResult<Sample> {
        let started = Instant::now();
        let status = Command::new(DAEMON).arg("exit").stdin(Stdio::null()).status()?;
        let took = started.elapsed();
        if !status.success() {
            return Err(format!("{DAEMON} exit: {status}").into());
        }
        Ok(Sample { returned: took, complete: took, phases: None })
    }
}

/// The place of a chain's files.
#[derive(Debug)]
pub(crate) struct ChainPlace {
    pub(crate) data: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) journal: PathBuf,
}

impl ChainPlace {
    fn make(dir: &Path, name: &str) -> io::Result<ChainPlace> {
        let dir = dir.join(name);
        let data = dir.join("data");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
        Ok(ChainPlace { data, control: dir.join("sock"), journal: dir.join("journal") })
    }

    /// The daemon's arguments.
    pub(crate) fn args(&self, library: &str) -> [String; 3] {
        [library.into(), self.data.display().to_string(), self.control.display().to_string()]
    }
}

/// Waits until a process answers at `control`: says the first byte of its greeting. Connected is not enough, a
/// process that hangs is that as well.
pub(crate) fn wait_for_answer(control: &Path) -> BenchResult<()> {
    let limit = Instant::now() + ANSWER_LIMIT;
    loop {
        match greeted(control) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > limit => {
                return Err(format!("nobody answers at {}: {error}", control.display()).into());
            }
            // No sleep: it would be longer than what is measured.
            Err(_) => thread::yield_now(),
        }
    }
}

fn greeted(control: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.read_exact(&mut [0])
}
