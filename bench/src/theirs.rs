//! The daemon on the peer.
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use peer::{
    DataDirLock, DrainReport, Drainable, Incumbent, ReadinessSnapshot, Role, SealReport, StateSnapshot,
    detect_role,
};

/// Serves until it is replaced.
pub(crate) fn run(data_dir: &Path, control: &Path) -> Result<(), Box<dyn Error>> {
    match detect_role()? {
        Role::ColdStart { inherited: _listeners } => {
            let lock = DataDirLock::acquire_or_break_stale(data_dir)?;
            Incumbent::bind_cold_start(control, lock)?.serve(TheirIdle)?;
        }
        Role::Successor(successor) => {
            let mut begun = successor.handshake(Vec::new())?.wait_for_begin()?;
            let _listener =
                begun.take_listener("main").ok_or("the supervisor passed no listener \"main\"")?;
            let lock = DataDirLock::acquire(data_dir)?;
            let ready = ReadinessSnapshot {
                listening_on: vec!["main".into()],
                healthz_ok: true,
                advertised_revision_per_shard: vec![1],
            };
            begun.announce_and_bind(ready, control, lock)?.serve(TheirIdle)?;
        }
    }
    Ok(())
}

struct TheirIdle;

impl Drainable for TheirIdle {
    fn drain(&self, _deadline: Instant) -> peer::Result<DrainReport> {
        Ok(DrainReport { open_conns_remaining: 0, accept_closed: true })
    }

    fn seal(&self) -> peer::Result<SealReport> {
        Ok(SealReport { last_revision_per_shard: vec![1], data_dir_fingerprint: [0; 32] })
    }

    fn resume_after_abort(&self) -> peer::Result<()> {
        Ok(())
    }

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot { shard_count: 1, open_conns: 0, last_revision_per_shard: vec![1] }
    }
}
