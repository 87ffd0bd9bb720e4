//! One connection's thread: requests, repetitions, checks.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::LoadOptions;
use super::client::{CallError, LoadClient};
use super::ledger::{LoadLedger, Wrong};
use super::tally::{SeenProcess, Tally, micros};
use crate::resp::Reply;

/// The time to wait after a failure before the request is tried again.
const BACK_OFF: Duration = Duration::from_millis(10);

pub(super) struct LoadWorker {
    id: usize,
    addr: SocketAddr,
    options: LoadOptions,
    tally: Arc<Tally>,
    client: Option<LoadClient>,
    ledger: LoadLedger,
    latencies: Option<Histogram<u64>>,
}

/// The server did not answer for so long that the connection gave up.
struct GaveUp;

impl LoadWorker {
    pub(super) fn new(id: usize, addr: SocketAddr, options: LoadOptions, tally: Arc<Tally>) -> LoadWorker {
        let ledger = LoadLedger::new(options.keys_per_connection, options.value_bytes);
        // Three digits; 3 is in range, so there always is one.
        LoadWorker { id, addr, options, tally, client: None, ledger, latencies: Histogram::new(3).ok() }
    }

    /// Makes load until it is stopped, then checks.
    pub(super) fn run(mut self) {
        let result = self.work().and_then(|()| self.check());
        if result.is_err() {
            self.tally.fail(format!("connection {} gave up", self.id));
        }
        if let Some(latencies) = self.latencies.take() {
            self.tally.add_latencies(latencies);
        }
    }

    /// Asks which process answers until the load is stopped.
    pub(super) fn watch(mut self) {
        while !self.tally.is_stopping() {
            let Ok(reply) = self.request(&[b"INFO"]) else { return };
            match who(&reply) {
                Some(process) => self.tally.saw(process),
                None => self.tally.fail(format!("INFO does not say which process answers: {reply:?}")),
            }
            self.tally.rest(Instant::now() + self.options.info_interval);
        }
    }

    fn work(&mut self) -> Result<(), GaveUp> {
        let steps = [LoadWorker::set_and_get, LoadWorker::increment];
        let period = self.options.pace.map(|pace| Duration::from_secs_f64(1.0 / pace.max(0.001)));
        let mut due = Instant::now();
        for step in steps.iter().cycle() {
            if self.tally.is_stopping() {
                break;
            }
            let requests = step(self)?;
            if let Some(period) = period {
                // What a pause made late is not made up for: that would be a burst, not a pace.
                due = (due + period * requests).max(Instant::now());
                self.tally.rest(due);
            }
        }
        Ok(())
    }

    /// Sets the next key and reads it; returns how many requests that were.
    fn set_and_get(&mut self) -> Result<u32, GaveUp> {
        let (key, value) = self.ledger.next_write();
        let name = self.key(key);
        match self.request(&[b"SET", name.as_bytes(), &value])? {
            Reply::Simple(_) => {
                self.ledger.written();
                self.tally.written();
            }
            other => self.tally.fail(format!("SET {name}: {other:?}")),
        }
        self.get(key)?;
        Ok(2)
    }

    fn increment(&mut self) -> Result<u32, GaveUp> {
        let name = self.counter();
        match self.request(&[b"INCR", name.as_bytes()])? {
            Reply::Integer(value) => {
                self.tally.written();
                let wrong = self.ledger.incremented(value);
                self.judge(wrong, &name, &value);
            }
            other => self.tally.fail(format!("INCR {name}: {other:?}")),
        }
        Ok(1)
    }

    /// Reads back everything.
    fn check(&mut self) -> Result<(), GaveUp> {
        for key in 0..self.ledger.keys() {
            self.get(key)?;
        }
        let name = self.counter();
        let reply = self.request(&[b"GET", name.as_bytes()])?;
        // A counter that is gone, or no number, has lost every increment; as 0 it does not pass for more.
        let value = bulk(&reply).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
        let wrong = self.ledger.counted(value);
        self.judge(wrong, &name, &reply);
        Ok(())
    }

    fn get(&mut self, key: usize) -> Result<(), GaveUp> {
        let name = self.key(key);
        let reply = self.request(&[b"GET", name.as_bytes()])?;
        match &reply {
            Reply::Bulk(_) | Reply::Nil => self.judge(self.ledger.read(key, bulk(&reply)), &name, &reply),
            other => self.tally.fail(format!("GET {name}: {other:?}")),
        }
        Ok(())
    }

    fn judge(&self, wrong: Option<Wrong>, key: &str, found: &dyn std::fmt::Debug) {
        if let Some(wrong) = wrong {
            self.tally.wrong(wrong, format!("{key} is {found:?}"));
        }
    }

    /// Sends a request until there is a reply.
    fn request(&mut self, args: &[&[u8]]) -> Result<Reply, GaveUp> {
        let (started, mut again) = (Instant::now(), false);
        loop {
            match self.attempt(args) {
                Ok(reply) => {
                    let took = started.elapsed();
                    self.tally.replied(took, again);
                    if let Some(latencies) = &mut self.latencies {
                        // It resizes itself, so nothing is out of range.
                        let _ = latencies.record(micros(took));
                    }
                    return Ok(reply);
                }
                Err(error) => {
                    self.note(&error);
                    if let CallError::Failed { .. } = error {
                        std::thread::sleep(BACK_OFF);
                    }
                }
            }
            (self.client, again) = (None, true);
            if started.elapsed() > self.options.give_up {
                return Err(GaveUp);
            }
        }
    }

    fn note(&self, error: &CallError) {
        if error.is_cut() {
            self.tally.cut();
        }
        match error {
            CallError::NotExecuted => self.tally.retry(),
            CallError::Failed { why, .. } => self.tally.fail(format!("connection {}: {why}", self.id)),
        }
    }

    fn attempt(&mut self, args: &[&[u8]]) -> Result<Reply, CallError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(LoadClient::connect(self.addr, self.options.reply_timeout)?),
        };
        client.call(args)
    }

    fn key(&self, key: usize) -> String {
        format!("{}:{}:{key}", self.options.prefix, self.id)
    }

    fn counter(&self) -> String {
        format!("{}:{}:counter", self.options.prefix, self.id)
    }
}

fn bulk(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Bulk(bytes) => Some(bytes),
        _ => None,
    }
}

fn who(info: &Reply) -> Option<SeenProcess> {
    let text = std::str::from_utf8(bulk(info)?).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Some(SeenProcess { build_id: field("build_id")?.into(), pid: field("process_id")?.parse().ok()? })
}
