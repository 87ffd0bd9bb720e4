//! The server as a daemon that can be replaced: the hooks of `handoff`, each in terms of engine and connections.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use handoff::message::{SealProgress, Sealed, Standing};
use handoff::{
    Connections, Daemon, DrainReport, Drainable, HookResult, Listeners, Patience, ReadinessSnapshot,
    ResumeFrom, SealReport, StateSnapshot,
};

use crate::connection::serve;
use crate::engine::Engine;
use crate::http::HttpSession;
use crate::session::RespSession;

/// The name of the listener that speaks RESP.
pub const RESP: &str = "resp";
/// The name of the listener that speaks HTTP.
pub const HTTP: &str = "http";
/// The largest number of bytes that a warm-up reads.
const WARM_UP_BYTES: u64 = 1 << 30;
/// The longest time that a warm-up takes.
const WARM_UP_TIME: Duration = Duration::from_secs(5);

/// The settings that the server needs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The directory of the database.
    pub data_dir: PathBuf,
    /// The largest size of the database, in bytes; a multiple of the page size. It is address space, not
    /// memory.
    pub map_bytes: usize,
    /// The name that `INFO` gives to the build.
    pub build_id: String,
    /// The longest time that a drain waits for a single connection.
    pub patience: Patience,
    /// Refuse to open the database: a build that is broken, for demonstrations and tests.
    pub fail_open: bool,
    /// Never get done with opening the database: another build that is broken.
    pub hang_open: bool,
}

impl ServerConfig {
    /// A server on `data_dir` with a database of at most 16 GiB.
    pub fn new(data_dir: impl Into<PathBuf>, build_id: impl Into<String>) -> ServerConfig {
        ServerConfig {
            data_dir: data_dir.into(),
            map_bytes: 16 << 30,
            build_id: build_id.into(),
            patience: Patience::default(),
            fail_open: false,
            hang_open: false,
        }
    }
}

/// The key-value server. It touches nothing until its hooks are called.
#[derive(Debug)]
pub struct Kv {
    engine: Arc<Engine>,
    connections: Connections,
    fail_open: bool,
    hang_open: bool,
}

impl Kv {
    /// A server that has not been started.
    ///
    /// # Errors
    /// Descriptors are exhausted.
    pub fn new(config: &ServerConfig) -> handoff::Result<Kv> {
        let engine = Arc::new(Engine::new(config));
        let welcoming = engine.clone();
        let connections =
            Connections::new(config.patience)?.welcome(move |arrival| welcoming.welcome(arrival));
        Ok(Kv { engine, connections, fail_open: config.fail_open, hang_open: config.hang_open })
    }

    fn start_writing(&self) -> HookResult<()> {
        self.engine.store.open()?;
        Ok(self.engine.writer.start(self.engine.store.clone())?)
    }

    fn resume(&mut self, from: ResumeFrom) -> HookResult<()> {
        if from == ResumeFrom::Disk {
            self.stop_writing();
        }
        self.start_writing()?;
        self.engine.store.forget_dead_readers()?;
        self.engine.subscriptions.open();
        self.connections.resume();
        Ok(())
    }

    fn stop_writing(&self) {
        self.engine.writer.stop();
        self.engine.store.close();
    }
}

impl Daemon for Kv {
    fn warm_up(&mut self) -> HookResult<()> {
        match self.engine.store.warm_up(WARM_UP_BYTES, WARM_UP_TIME)? {
            Some(warmth) => tracing::info!(
                revision = warmth.summary.revision,
                keys = warmth.summary.keys,
                bytes = warmth.bytes,
                "warmed up"
            ),
            None => tracing::info!("nothing to warm up: no database yet"),
        }
        Ok(())
    }

    fn open(&mut self, _sealed: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        self.engine.set_standing(Standing::Opening);
        if self.fail_open {
            return Err("told not to open the database (--fail-open)".into());
        }
        if self.hang_open {
            hang();
        }
        self.start_writing()?;
        self.engine.set_standing(Standing::Ready);
        Ok(ReadinessSnapshot::healthy(vec![self.engine.store.summary().revision])
            .with_listeners([RESP, HTTP])
            .with_fingerprint(self.engine.store.fingerprint()?))
    }

    fn serve(&mut self, mut listeners: Listeners) -> HookResult<()> {
        let mut take = |name| {
            listeners.take_tcp(name).ok_or_else(|| format!("there is no TCP listener called {name:?}"))
        };
        let (resp, http) = (take(RESP)?, take(HTTP)?);
        self.engine.set_standing(Standing::Serving);
        let engine = self.engine.clone();
        self.connections.serve(resp, move |client| Ok(RespSession::serve(&engine, client)?))?;
        let engine = self.engine.clone();
        self.connections
            .serve(http, move |client| Ok(serve(client, &mut HttpSession { engine: engine.clone() })?))?;
        Ok(())
    }
}

impl Drainable for Kv {
    fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        self.engine.set_standing(Standing::Draining);
        let drained = self.connections.drain(grace);
        // From here on a message could be for a connection that is another process's.
        self.engine.subscriptions.close();
        Ok(drained.into())
    }

    /// Every acknowledged write is on disk already; what is left is to execute what is queued and to close.
    fn seal(&mut self, progress: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        self.engine.set_standing(Standing::Sealing);
        self.engine.writer.stop();
        let data_dir_fingerprint = self.engine.store.fingerprint()?;
        self.engine.store.close();
        let last_revision = self.engine.store.summary().revision;
        progress(SealProgress { shards_sealed: 1, shards_total: 1, last_revision });
        self.engine.set_standing(Standing::Sealed);
        Ok(SealReport::new(vec![last_revision]).with_fingerprint(data_dir_fingerprint))
    }

    fn resume_after_abort(&mut self, from: ResumeFrom) -> HookResult<()> {
        self.engine.set_standing(Standing::Resuming);
        let resumed = self.resume(from);
        self.engine.set_standing(if resumed.is_ok() { Standing::Serving } else { Standing::Leaving });
        resumed
    }

    fn connections(&self) -> Option<&Connections> {
        Some(&self.connections)
    }

    fn snapshot_state(&self) -> StateSnapshot {
        let revision = self.engine.store.summary().revision;
        StateSnapshot::new(self.connections.counts().open(), vec![revision])
    }
}

/// Waits for the end of the process.
fn hang() -> ! {
    loop {
        tracing::info!("told to hang in opening the database (--hang-open)");
        std::thread::sleep(Duration::from_secs(60));
    }
}
