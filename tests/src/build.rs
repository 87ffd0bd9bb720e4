//! A build of the daemon: what a handoff swaps to.
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::layout::Layout;
use crate::order::{Deed, Order};
use crate::script::{self, Act, Gate, HookName};
use crate::world::Bin;

/// Silence that no process keeps that is not stopped: on a busy machine a process may wait for a processor, or for a disk, for
/// tenths of a second. In what waits for it, everything else has limits of another order.
pub const SILENCE: Duration = Duration::from_secs(2);

/// The program to start, under a name of its own, and the times of the handoff: by default limits that
/// nothing comes near to that is merely slow.
#[derive(Clone, Debug)]
pub struct Build {
    /// By which scripts know it.
    pub name: String,
    /// The executable.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The whole handoff.
    pub deadline: Duration,
    /// For open requests.
    pub drain_grace: Duration,
    /// Silence that counts as a hang.
    pub liveness: Duration,
    /// For one hook; the deadline if absent.
    pub hook_limit: Option<Duration>,
    /// For a retired incumbent.
    pub retire_limit: Duration,
    /// For one that may hold the lock and says nothing, in a recovery.
    pub unreachable_limit: Duration,
    /// The addresses to listen at, by name, if no process has the sockets any more.
    pub listen: Vec<(String, String)>,
    layout: Layout,
}

impl Build {
    pub(crate) fn new(layout: &Layout, name: String, binary: PathBuf, args: Vec<OsString>) -> Build {
        Build {
            name,
            binary,
            args,
            deadline: Duration::from_secs(600),
            drain_grace: Duration::from_secs(60),
            liveness: Duration::from_secs(15),
            hook_limit: None,
            retire_limit: Duration::from_secs(60),
            unreachable_limit: Duration::from_secs(60),
            listen: Vec::new(),
            layout: layout.clone(),
        }
    }

    /// Lets it do `acts` when `hook` is called next; may be said before and while it runs.
    #[must_use]
    pub fn on(self, hook: HookName, acts: impl IntoIterator<Item = Act>) -> Build {
        self.script(hook, acts);
        self
    }

    /// Lets its process stop itself (SIGSTOP) before it executes the actor, once.
    #[must_use]
    pub fn held(self) -> Build {
        std::fs::write(self.layout.dir().join("hold"), "").unwrap();
        Build { binary: Bin::Actor.held_launcher(), ..self }
    }

    /// The same for a build that runs.
    pub fn script(&self, hook: HookName, acts: impl IntoIterator<Item = Act>) {
        script::write(&self.layout, &self.name, hook, &acts.into_iter().collect::<Vec<_>>());
    }

    /// Lets it wait at a gate in `hook`, when that is called next.
    pub fn gate(&self, hook: HookName) -> Gate {
        self.script(hook, [Act::Gate]);
        Gate::new(&self.layout, &self.name, hook)
    }

    /// The whole handoff takes this long at most.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Build {
        Build { deadline, ..self }
    }

    /// Silence of so long counts as a hang.
    #[must_use]
    pub fn liveness(self, liveness: Duration) -> Build {
        Build { liveness, ..self }
    }

    /// A retired incumbent is waited for so long.
    #[must_use]
    pub fn retire_limit(self, retire_limit: Duration) -> Build {
        Build { retire_limit, ..self }
    }

    /// Sets the longest time that one hook may take.
    #[must_use]
    pub fn hook_limit(self, limit: Duration) -> Build {
        Build { hook_limit: Some(limit), ..self }
    }

    /// Open requests get so long.
    #[must_use]
    pub fn drain_grace(self, drain_grace: Duration) -> Build {
        Build { drain_grace, ..self }
    }

    pub(crate) fn order(&self, deed: Deed) -> Order {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        Order {
            id: 0,
            deed,
            binary: self.binary.clone(),
            args: self.args.clone(),
            env: Vec::new(),
            deadline_ms: millis(self.deadline),
            drain_grace_ms: millis(self.drain_grace),
            liveness_ms: millis(self.liveness),
            hook_limit_ms: self.hook_limit.map(millis),
            retire_limit_ms: millis(self.retire_limit),
            unreachable_limit_ms: millis(self.unreachable_limit),
            listen: self.listen.clone(),
        }
    }
}
