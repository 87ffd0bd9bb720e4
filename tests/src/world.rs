//! A world: what belongs to one test, and what is over when the test is.
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::build::Build;
use crate::evidence;
use crate::layout::Layout;
use crate::processes;
use crate::supervisor_process::SupervisorProcess;
use crate::wait::until;
use crate::writer::{Server, Writer};

/// A binary of this package.
#[derive(Clone, Copy, Debug)]
pub enum Bin {
    /// The daemon that does what a script says.
    Actor,
    /// The supervisor that does what a test says.
    SupervisorProcess,
    /// `handoff-kv`.
    Kv,
    /// The process that makes the system calls it is told to make.
    Worker,
    /// The successor that is no user of the library.
    Rogue,
    /// `handoff-supervisor`.
    Supervisor,
}

impl Bin {
    /// Returns where it is: cargo builds a package's binaries beside the directory of its tests.
    pub fn path(self) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let name = match self {
            Bin::Actor => "actor",
            Bin::SupervisorProcess => "supervisor_process",
            Bin::Kv => "kv",
            Bin::Worker => "worker",
            Bin::Rogue => "rogue",
            Bin::Supervisor => "supervisor",
        };
        test.parent().and_then(|deps| deps.parent()).unwrap().join(name)
    }
}

impl Bin {
    /// A script of one line that executes it. What is committed is copied, and a binary with symbols is large.
    pub fn launcher(self) -> PathBuf {
        self.script("", "")
    }

    /// The same, and the process stops itself (SIGSTOP) first, if there is a file `hold` in the directory that is its first
    /// argument; it takes that away, so that the same script starts another process which is not held.
    pub fn held_launcher(self) -> PathBuf {
        self.script("-held", "if [ -e \"$1/hold\" ]; then rm \"$1/hold\"; kill -STOP $$; fi\n")
    }

    fn script(self, suffix: &str, first: &str) -> PathBuf {
        static WRITTEN: OnceLock<TempDir> = OnceLock::new();
        let dir = WRITTEN.get_or_init(|| tempfile::tempdir().unwrap());
        let script = dir.path().join(format!("{self:?}{suffix}"));
        static ONCE: Mutex<()> = Mutex::new(());
        let _one = ONCE.lock().unwrap();
        if !script.exists() {
            let text = format!("#!/bin/sh\n{first}exec '{}' \"$@\"\n", self.path().display());
            let mut options = fs::File::options();
            let file = options.write(true).create_new(true).mode(0o755).open(script.with_extension("new"));
            file.unwrap().write_all(text.as_bytes()).unwrap();
            fs::rename(script.with_extension("new"), &script).unwrap();
        }
        script
    }
}

/// A directory, listening sockets, and every process that has the directory's name in its environment. All of
/// them are killed when it is dropped, whether or not the test has passed. Unless a peer in it breaks the protocol, none of
/// them may have met an event in a state in which neither explorations nor sweeps have met it.
///
/// When its test panics, all that is known of it is printed, and its directory is kept.
#[derive(Debug)]
pub struct World {
    layout: Layout,
    tcp: SocketAddr,
    listeners: Mutex<Vec<OwnedFd>>,
    builds: AtomicU32,
    has_bad_peers: AtomicBool,
    dir: TempDir,
}

impl World {
    /// A new world in which nothing runs yet.
    #[allow(clippy::new_without_default, reason = "to make one is an act")]
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        evidence::begins(&layout);
        for sub in ["data", "run", "script"] {
            fs::DirBuilder::new().mode(0o700).create(dir.path().join(sub)).unwrap();
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let addr = tcp.local_addr().unwrap();
        let unix = UnixListener::bind(layout.socket()).unwrap();
        unix.set_nonblocking(true).unwrap();
        let listeners = Mutex::new(vec![tcp.into(), unix.into()]);
        World {
            layout,
            tcp: addr,
            listeners,
            builds: AtomicU32::new(0),
            has_bad_peers: AtomicBool::new(false),
            dir,
        }
    }

    /// Returns where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns where clients reach the TCP listener, which outlives every process of the world.
    pub fn addr(&self) -> SocketAddr {
        self.tcp
    }

    /// Starts a supervisor with this world's listeners and journal.
    pub fn supervisor(&self) -> SupervisorProcess {
        SupervisorProcess::start(&self.layout, &self.listeners.lock().unwrap(), &["journal"], 0)
    }

    /// Starts one without a journal: a rival, since only one supervisor can hold that.
    pub fn supervisor_without_journal(&self) -> SupervisorProcess {
        SupervisorProcess::start(&self.layout, &self.listeners.lock().unwrap(), &[], 0)
    }

    /// Starts a supervisor that has leaked `count` descriptors without close-on-exec.
    pub fn leaky_supervisor(&self, count: u32) -> SupervisorProcess {
        SupervisorProcess::start(&self.layout, &self.listeners.lock().unwrap(), &["journal"], count)
    }

    /// Starts a supervisor on a stage. The first one gets the listeners, and this test has them no more from then on: those that
    /// come after it take them from a daemon.
    #[cfg(all(feature = "sim", feature = "crash-points"))]
    pub(crate) fn staged_supervisor(&self) -> SupervisorProcess {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap());
        SupervisorProcess::start(&self.layout, &listeners, &["journal", Layout::STAGED], 0)
    }

    /// Returns what to listen at where no process has the listeners any more.
    #[cfg(all(feature = "sim", feature = "crash-points"))]
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let socket = format!("unix:{}", self.layout.socket().display());
        let names = Layout::LISTENERS.map(String::from);
        names.into_iter().zip([self.tcp.to_string(), socket]).collect()
    }

    /// Another build of the actor, with a name of its own; a script of one line, since what is committed is copied.
    pub fn build(&self) -> Build {
        let name = format!("b{}", self.builds.fetch_add(1, Ordering::Relaxed));
        let args = vec![self.layout.dir().into(), OsString::from(&name)];
        Build::new(&self.layout, name, Bin::Actor.launcher(), args)
    }

    /// A successor that is no user of the library: it does what `misdeed` says (see `src/bin/rogue.rs`).
    pub fn rogue(&self, misdeed: &str) -> Build {
        self.expect_bad_peers();
        // One that is asked to leave, and does not, is killed after a fifth of this.
        let times = |build: Build| build.liveness(Duration::from_secs(10));
        times(Build::new(&self.layout, "rogue".into(), Bin::Rogue.path(), vec![misdeed.into()]))
    }

    /// A build whose binary is whatever lies at `binary`.
    pub fn build_at(&self, binary: impl Into<PathBuf>) -> Build {
        Build::new(&self.layout, "other".into(), binary.into(), Vec::new())
    }

    /// A client that writes over TCP all the time.
    pub fn writer(&self) -> Writer {
        Writer::start("t", Server::Tcp(self.tcp))
    }

    /// A client that writes over the Unix socket all the time.
    pub fn unix_writer(&self) -> Writer {
        Writer::start("u", Server::Unix(self.layout.socket()))
    }

    /// Allows that a process of this world says what it must not.
    pub fn expect_bad_peers(&self) {
        self.has_bad_peers.store(true, Ordering::Relaxed);
    }

    /// Returns what all processes have logged so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.layout.output()).unwrap_or_default()).into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        evidence::ends(&self.layout);
        let log = if self.has_bad_peers.load(Ordering::Relaxed) { String::new() } else { self.output() };
        let unheard_of = log.lines().find(|line| line.contains("an event that was thought impossible"));
        // Again and again, since one that is being ended may have been starting another.
        let alive = || processes::of_world(&self.layout);
        let killed = || {
            let alive = alive();
            alive.iter().for_each(|pid| processes::send(*pid, Signal::SIGKILL));
            alive.is_empty()
        };
        if thread::panicking() {
            (0..1000).find(|_| killed());
            self.dir.disable_cleanup(true);
            eprintln!("---- the world is kept in {} ----", self.layout.dir().display());
        } else {
            until("all processes of the world are gone", killed);
            assert_eq!(unheard_of, None, "no exploration and no sweep has met that: see snapshots/cells.txt");
        }
    }
}
