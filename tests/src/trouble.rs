//! The troubles of a supervisor that is on no stage: a disk that takes long under its journal, a defect in
//! the library. A file in its world says so, and is taken away when it has come.
use std::fs;
use std::thread;
use std::time::Duration;

use handoff::host::Gap;
use handoff::machine::{Cell, StateName};
use handoff::message::Message;
use handoff::unix::probe::{self, Fate, FrameFate, Probe, Receiver, SystemCall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::layout::Layout;
use crate::world::World;

/// In whose file it is said how many milliseconds the next sync of the journal takes.
const SLOW_SYNC: &str = "slow-sync";
/// The library panics when it has told a successor to serve.
const PANIC: &str = "panic";
/// From when a successor was told to serve, the supervisor can open nothing more, for the time that is in the file.
const NO_DESCRIPTORS: &str = "no-descriptors";

/// Lets trouble come to this process from here on.
pub fn expect(layout: Layout) {
    probe::install(Troubled(layout));
}

impl World {
    /// The next sync of the journal takes so long.
    pub fn slow_sync(&self, takes: Duration) {
        self.trouble(SLOW_SYNC, &takes.as_millis().to_string());
    }

    /// The library panics in the next swap, when it has told the successor to serve.
    pub fn panic_after_commit(&self) {
        self.trouble(PANIC, "");
    }

    /// The supervisor can open no descriptor for so long, once it has told the successor of the next swap to serve.
    pub fn no_descriptors_after_commit(&self, takes: Duration) {
        self.trouble(NO_DESCRIPTORS, &takes.as_millis().to_string());
    }

    fn trouble(&self, which: &str, text: &str) {
        let path = self.layout().trouble(which);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }
}

struct Troubled(Layout);

impl Troubled {
    fn take(&self, which: &str) -> Option<String> {
        let path = self.0.trouble(which);
        let text = fs::read_to_string(&path).ok()?;
        fs::remove_file(path).unwrap();
        Some(text)
    }
}

impl Probe for Troubled {
    fn handles(&self, _cell: Cell) {}

    fn gap(&self, gap: Gap, step: Option<SystemCall>) -> Fate {
        if step == Some(SystemCall::Sync)
            && let Some(takes) = self.take(SLOW_SYNC)
        {
            thread::sleep(millis(&takes));
        }
        if step.is_some() {
            return Fate::LivesOn;
        }
        let has_committed = gap.state == StateName::AwaitReady && gap.before.is_none();
        if has_committed {
            assert!(self.take(PANIC).is_none(), "a defect, on purpose");
            self.take(NO_DESCRIPTORS).into_iter().for_each(|takes| open_nothing_for(millis(&takes)));
        }
        Fate::LivesOn
    }

    fn frame(&self, _to: Receiver, _message: &Message) -> FrameFate {
        FrameFate::Arrives
    }
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap())
}

/// No descriptor is left below the limit, and to wait for more than one of them with poll(2) is an error.
fn open_nothing_for(takes: Duration) {
    const LIMIT: u64 = 1;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).unwrap();
    thread::spawn(move || {
        thread::sleep(takes);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    });
}
