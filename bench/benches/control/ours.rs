//! The chain on this library.
use std::net::TcpListener;
use std::time::{Duration, Instant};

use handoff::{Child, HandoffOutcome, SpawnSpec, Supervisor};

use super::arm::{Arm, BenchResult, ChainPlace, DAEMON, Sample, wait_for_answer};

/// A supervisor and the daemon that serves.
pub(crate) struct Ours {
    supervisor: Supervisor,
    spec: SpawnSpec,
    place: ChainPlace,
    child: Child,
}

impl Ours {
    /// Starts the first daemon.
    pub(crate) fn start(place: ChainPlace, journal: bool) -> BenchResult<Ours> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut supervisor = Supervisor::new(&place.control)?.with_listener("main", listener)?;
        if journal {
            supervisor = supervisor.with_journal(&place.journal)?;
        }
        let mut spec = SpawnSpec::new(DAEMON);
        spec.args = place.args("ours").map(Into::into).to_vec();
        let child = committed(supervisor.cold_start(spec.clone())?)?.0;
        wait_for_answer(&place.control)?;
        Ok(Ours { supervisor, spec, place, child })
    }
}

impl Arm for Ours {
    fn round(&mut self) -> BenchResult<Sample> {
        let spec = self.spec.clone();
        let started = Instant::now();
        let outcome = self.supervisor.perform_handoff(spec)?;
        let returned = started.elapsed();
        // It returns when the old process has ended.
        wait_for_answer(&self.place.control)?;
        let complete = started.elapsed();
        let (child, phases) = committed(outcome)?;
        self.child = child;
        Ok(Sample { returned, complete, phases: Some(phases) })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait_timeout(Duration::from_secs(10));
    }
}

fn committed(outcome: HandoffOutcome) -> BenchResult<(Child, handoff::Phases)> {
    match outcome.child {
        Some(child) if outcome.warnings.is_empty() => Ok((child, outcome.phases)),
        _ => Err(format!("{:?}: {:?} {:?}", outcome.verdict, outcome.abort_reason, outcome.warnings).into()),
    }
}
