//! The chain on the peer.
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use peer::{SpawnSpec, Supervisor};

use super::arm::{Arm, BenchResult, ChainPlace, DAEMON, Sample, wait_for_answer};

/// A supervisor and the daemon that serves.
pub(crate) struct Theirs {
    supervisor: Supervisor,
    spec: SpawnSpec,
    place: ChainPlace,
    child: Child,
    /// The supervisor knows its number only.
    _listener: TcpListener,
}

impl Theirs {
    /// Starts the first daemon.
    pub(crate) fn start(place: ChainPlace, journal: bool) -> BenchResult<Theirs> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut supervisor = Supervisor::new(&place.control)?.with_listener("main", listener.as_raw_fd());
        if journal {
            supervisor = supervisor.with_journal(place.journal.clone());
        }
        let mut spec = SpawnSpec::new(DAEMON);
        spec.args = place.args("peer").to_vec();
        let child = Command::new(DAEMON).args(place.args("peer")).stdin(Stdio::null()).spawn()?;
        let theirs = Theirs { supervisor, spec, place, child, _listener: listener };
        wait_for_answer(&theirs.place.control)?;
        Ok(theirs)
    }
}

impl Arm for Theirs {
    fn round(&mut self) -> BenchResult<Sample> {
        let spec = self.spec.clone();
        let started = Instant::now();
        let outcome = self.supervisor.perform_handoff(spec)?;
        let returned = started.elapsed();
        let child = outcome.child.ok_or_else(|| format!("not committed: {:?}", outcome.abort_reason))?;
        // It returns when both have been told: before the old process has ended, and before the new one is bound.
        std::mem::replace(&mut self.child, child).wait()?;
        wait_for_answer(&self.place.control)?;
        Ok(Sample { returned, complete: started.elapsed(), phases: None })
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
