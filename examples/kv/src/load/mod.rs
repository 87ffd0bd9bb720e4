//! The client that demonstrations and tests put on a server that is being replaced: it keeps the server busy, and it
//! keeps books. On each of its connections it sets, increments and reads keys of its own, one request at a time, so
//! that it knows at any moment what every key must hold.
//!
//! What it holds the server to:
//! - every request gets a reply, or the connection ends before the reply's first byte. The latter means that the
//!   request was not executed; it is sent again on a new connection and counted as `retried`. Anything else (a refused
//!   connection, a reset, half a reply, an error reply, silence) is a failure, counted as `failed`, and tried again;
//! - every acknowledged write is there when it is read, during the run and once more at its end;
//! - `INCR` hands out each number once, and none is skipped.
//!
//! ```no_run
//! use handoff_kv::load::{Load, LoadOptions};
//!
//! let load = Load::start(([127, 0, 0, 1], 6379).into(), LoadOptions::default())?;
//! // ... replace the server ...
//! println!("{} so far", load.progress().requests);
//! let report = load.stop();
//! assert!(report.is_clean(), "{report:?}");
//! # Ok::<(), std::io::Error>(())
//! ```
mod client;
mod ledger;
mod tally;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub use tally::{Counters, Latency, LoadReport, SeenProcess};

use tally::Tally;
use worker::LoadWorker;

/// The load to make.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The number of connections, each with a thread of its own.
    pub connections: usize,
    /// The number of keys that each connection sets in turn.
    pub keys_per_connection: usize,
    /// The length of a value, in bytes; at least as long as a sequence number needs, at most 1 MiB.
    pub value_bytes: usize,
    /// Requests a second on each connection; `None` is as fast as replies come.
    pub pace: Option<f64>,
    /// The text that the keys start with. Two loads at the same time need two prefixes.
    pub prefix: String,
    /// The longest time that a reply, or a connection, may take before that is a failure.
    pub reply_timeout: Duration,
    /// For how long one request is tried again before its connection gives up.
    pub give_up: Duration,
    /// The interval at which another connection asks `INFO` which build and process answers.
    pub info_interval: Duration,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            connections: 16,
            keys_per_connection: 100,
            value_bytes: 64,
            pace: None,
            prefix: "load".into(),
            reply_timeout: Duration::from_secs(30),
            give_up: Duration::from_secs(60),
            info_interval: Duration::from_millis(20),
        }
    }
}

/// A load that is being made. Dropped without [`Load::stop`], it stops, unchecked.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts to make load on the server at `addr`, which need not be up yet. Fails only if no threads can be had.
    pub fn start(addr: SocketAddr, options: LoadOptions) -> io::Result<Load> {
        let mut load = Load { tally: Arc::new(Tally::new(options.connections)), threads: Vec::new() };
        for id in 0..options.connections {
            let worker = LoadWorker::new(id, addr, options.clone(), load.tally.clone());
            load.threads.push(Builder::new().name(format!("load-{id}")).spawn(move || worker.run())?);
        }
        let watcher = LoadWorker::new(options.connections, addr, options, load.tally.clone());
        load.threads.push(Builder::new().name("load-info".into()).spawn(move || watcher.watch())?);
        Ok(load)
    }

    /// Returns how it stands.
    pub fn progress(&self) -> Counters {
        self.tally.counters()
    }

    /// Lets each connection finish its request, has it read back all that was acknowledged, and reports.
    pub fn stop(mut self) -> LoadReport {
        self.tally.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.tally.fail("a connection's thread panicked".into());
            }
        }
        self.tally.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tally.stop();
    }
}
