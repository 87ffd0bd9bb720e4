//! The places of things in a world's directory: shared by the tests and the processes that they start.
use std::path::{Path, PathBuf};

use crate::script::HookName;

/// The name of the TCP listener.
pub(crate) const TCP: &str = "tcp";
/// The name of the Unix listener.
pub(crate) const UNIX: &str = "unix";

/// A world's directory.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The names of the listeners, in the order in which they are passed on.
    pub const LISTENERS: [&str; 2] = [TCP, UNIX];
    /// The argument that puts an actor or a supervisor on a stage.
    pub const STAGED: &str = "staged";
    /// The variable that every process of a world has in its environment; its value is the directory.
    pub const MARK: &str = "HANDOFF_TEST_WORLD";

    /// The world in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Layout {
        Layout { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what only one process may write.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Returns where the actor appends what it acknowledges.
    pub fn log(&self) -> PathBuf {
        self.data().join("log")
    }

    /// Beside the lock: the process that held it last.
    pub fn record(&self) -> PathBuf {
        self.data().join("handoff.record")
    }

    /// Returns where sockets and the journal are.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The control path.
    pub fn control(&self) -> PathBuf {
        self.run().join("control")
    }

    /// The supervisor's journal.
    pub fn journal(&self) -> PathBuf {
        self.run().join("journal")
    }

    /// Returns where clients reach the Unix listener.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Returns where the processes of a stage find their controller.
    pub fn controller(&self) -> PathBuf {
        self.dir.join("controller")
    }

    /// Returns what all processes write to their standard output and error.
    pub fn output(&self) -> PathBuf {
        self.dir.join("output")
    }

    /// Returns what is to befall a supervisor, if it exists: `which` names it.
    pub fn trouble(&self, which: &str) -> PathBuf {
        self.dir.join(which)
    }

    /// Returns what the actor called `name` is to do when `hook` is called next.
    pub fn script(&self, name: &str, hook: HookName) -> PathBuf {
        self.dir.join("script").join(format!("{name}.{hook}"))
    }

    /// Exists once the actor called `name` waits in `hook`.
    pub fn at(&self, name: &str, hook: HookName) -> PathBuf {
        self.dir.join("script").join(format!("{name}.{hook}.at"))
    }

    /// Lets it go on, once it exists.
    pub fn go(&self, name: &str, hook: HookName) -> PathBuf {
        self.dir.join("script").join(format!("{name}.{hook}.go"))
    }
}
