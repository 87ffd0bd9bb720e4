//! The parts that all connections share: the database, the writer, and what the server says of itself.
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use handoff::daemon::Arrival;
use handoff::message::Standing;

use crate::client_state::ClientState;
use crate::command::{JobStep, Lookup};
use crate::daemon::ServerConfig;
use crate::resp::Reply;
use crate::store::{Store, StoreError};
use crate::subscriptions::{Subscriber, Subscriptions};
use crate::sync::lock;
use crate::writer::WriterThread;

/// The server without its sockets.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) writer: WriterThread,
    pub(crate) subscriptions: Subscriptions,
    client_ids: AtomicU64,
    requests: AtomicU64,
    standing: Mutex<Standing>,
    build_id: String,
    started: Instant,
}

impl Engine {
    pub(crate) fn new(config: &ServerConfig) -> Engine {
        Engine {
            store: Arc::new(Store::new(config.data_dir.clone(), config.map_bytes)),
            writer: WriterThread::default(),
            subscriptions: Subscriptions::default(),
            client_ids: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            standing: Mutex::new(Standing::Warming),
            build_id: config.build_id.clone(),
            started: Instant::now(),
        }
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        *lock(&self.standing) = standing;
    }

    /// Looks something up; `None` if the database is closed.
    pub(crate) fn read(&self, read: &Lookup) -> Option<Reply> {
        match self.store.read(|view| read.run(view)) {
            Err(StoreError::Closed) => None,
            other => Some(other.unwrap_or_else(Reply::error)),
        }
    }

    /// Writes, all or nothing, and returns when it is durable; `None` if it was not executed and won't be.
    pub(crate) fn write(&self, steps: Vec<JobStep>) -> Option<Vec<Reply>> {
        self.writer.execute(steps)
    }

    /// Sends a message to its subscribers; `None` if it was not sent and won't be.
    pub(crate) fn publish(&self, channel: &[u8], message: &[u8]) -> Option<Reply> {
        let heard = self.subscriptions.publish(channel, message)?;
        Some(Reply::Integer(i64::try_from(heard).unwrap_or(i64::MAX)))
    }

    /// A client comes from another process: it hears of its channels from now on, and keeps its number.
    pub(crate) fn welcome(&self, arrival: &Arrival) {
        let Some(client) = ClientState::decode(arrival.session()) else {
            return tracing::warn!(id = %arrival.id(), "a client's state is of no layout that this build knows");
        };
        self.client_ids.fetch_max(client.id.unwrap_or(0), Relaxed);
        let subscriber = Subscriber { pusher: arrival.pusher(), version: client.version };
        for channel in &client.channels {
            // Nothing is sent, so nothing can fail.
            let _ = self.subscriptions.add(channel, &subscriber, &[]);
        }
    }

    /// The number of a new client, counted from 1.
    pub(crate) fn next_client_id(&self) -> u64 {
        self.client_ids.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Returns why the service should get no traffic, if so. A handoff is no reason: from the first drain
    /// until the successor serves, or this process again, takes milliseconds, and a client that connects
    /// meanwhile is served after that.
    pub(crate) fn trouble(&self) -> Option<String> {
        match *lock(&self.standing) {
            Standing::Serving
            | Standing::Draining
            | Standing::Sealing
            | Standing::Sealed
            | Standing::Resuming => self.writer.trouble(),
            other @ (Standing::Supervising
            | Standing::Warming
            | Standing::Warmed
            | Standing::Opening
            | Standing::Ready
            | Standing::Leaving) => Some(word(other)),
        }
    }

    /// The answer to `INFO`: lines of `name:value`. `clients` is how many connections are open.
    pub(crate) fn info(&self, clients: u32) -> String {
        let summary = self.store.summary();
        let lines = [
            ("build_id", self.build_id.clone()),
            ("process_id", std::process::id().to_string()),
            ("uptime_in_seconds", self.started.elapsed().as_secs().to_string()),
            ("standing", word(*lock(&self.standing))),
            ("connected_clients", clients.to_string()),
            ("total_commands_processed", self.requests.load(Relaxed).to_string()),
            ("revision", summary.revision.to_string()),
            ("keys", summary.keys.to_string()),
        ];
        let mut text = String::from("# Server\r\n");
        for (name, value) in lines {
            // A String takes whatever is written.
            let _ = write!(text, "{name}:{value}\r\n");
        }
        text
    }

    /// The answer to `/metrics`, as
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format> has it.
    pub(crate) fn metrics(&self, clients: u32) -> String {
        let summary = self.store.summary();
        let figures = [
            ("kv_revision", "counter", "Writes committed since the database was created.", summary.revision),
            ("kv_keys", "gauge", "Keys in the database.", summary.keys),
            (
                "kv_requests_total",
                "counter",
                "Requests answered by this process.",
                self.requests.load(Relaxed),
            ),
            ("kv_connected_clients", "gauge", "Open client connections.", clients.into()),
            ("kv_uptime_seconds", "gauge", "Age of this process.", self.started.elapsed().as_secs()),
            ("kv_healthy", "gauge", "1 if /healthz says so.", self.trouble().is_none().into()),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in figures {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        let build = self.build_id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(
            text,
            "# HELP kv_build_info The build and the process that answer.\n# TYPE kv_build_info gauge\n\
             kv_build_info{{build_id=\"{build}\",pid=\"{}\"}} 1\n",
            std::process::id()
        );
        text
    }
}

fn word(standing: Standing) -> String {
    format!("{standing:?}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_about_the_service_and_not_about_a_handoff() {
        let engine = Engine::new(&ServerConfig::new("/nonexistent", "one"));
        let healthy = |standing| {
            engine.set_standing(standing);
            engine.trouble().is_none()
        };
        for standing in
            [Standing::Serving, Standing::Draining, Standing::Sealing, Standing::Sealed, Standing::Resuming]
        {
            assert!(healthy(standing), "{standing:?}");
        }
        for standing in
            [Standing::Warming, Standing::Warmed, Standing::Opening, Standing::Ready, Standing::Leaving]
        {
            assert!(!healthy(standing), "{standing:?}");
        }
    }
}
