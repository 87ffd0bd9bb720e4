//! The one thread that writes. Group commit: it takes everything that waits, writes it in one transaction, and
//! answers when that is on disk; what comes meanwhile is the next group. So the cost of a sync is shared by as many
//! connections as there are.
//!
//! Invariant: a job is answered exactly once, after its commit, or not at all because it was never executed.
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::command::JobStep;
use crate::resp::Reply;
use crate::store::{self, Store, StoreError};
use crate::sync::lock;

/// A group takes no further job once it is this large; it also keeps a transaction far from LMDB's limits.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// After how many groups to look for readers that died.
const DEAD_READERS_EVERY: u64 = 1024;

/// Consecutive writes of one connection, or its transaction. All of it happens, or nothing.
struct Job {
    steps: Vec<JobStep>,
    answer: SyncSender<Vec<Reply>>,
}

/// The writer thread, running or not.
#[derive(Debug, Default)]
pub(crate) struct WriterThread {
    running: Mutex<Option<RunningWriter>>,
    /// The reason why the last commit failed, if it did.
    trouble: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct RunningWriter {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// Starts the thread; does nothing if it runs.
    pub(crate) fn start(&self, store: Arc<Store>) -> io::Result<()> {
        let mut running = lock(&self.running);
        if running.is_none() {
            *lock(&self.trouble) = None;
            let (jobs, queue) = channel();
            let group = Group { store, trouble: self.trouble.clone() };
            let thread = thread::Builder::new().name("writer".into()).spawn(move || group.run(&queue))?;
            *running = Some(RunningWriter { jobs, thread });
        }
        Ok(())
    }

    /// Commits what is queued, answers it, and ends the thread.
    pub(crate) fn stop(&self) {
        if let Some(RunningWriter { jobs, thread }) = lock(&self.running).take() {
            drop(jobs);
            // It can't have panicked: that would have ended the process.
            let _ = thread.join();
        }
    }

    /// Has `steps` executed and returns their replies, in order, once they are durable. `None` if they were not
    /// executed and won't be, because the thread has stopped.
    pub(crate) fn execute(&self, steps: Vec<JobStep>) -> Option<Vec<Reply>> {
        let (answer, replies) = sync_channel(1);
        lock(&self.running).as_ref()?.jobs.send(Job { steps, answer }).ok()?;
        replies.recv().ok()
    }

    /// Returns why the last commit failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

struct Group {
    store: Arc<Store>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Group {
    fn run(&self, queue: &Receiver<Job>) {
        let _guard = AbortOnPanic;
        for groups in 1.. {
            let Ok(first) = queue.recv() else { return };
            self.commit(gather(first, queue));
            if groups % DEAD_READERS_EVERY == 0
                && let Err(error) = self.store.forget_dead_readers()
            {
                tracing::warn!(%error, "dead readers stay");
            }
        }
    }

    fn commit(&self, jobs: Vec<Job>) {
        match self.try_commit(&jobs) {
            Ok(replies) => {
                *lock(&self.trouble) = None;
                for (job, replies) in jobs.iter().zip(replies) {
                    // A connection that is gone needs no answer.
                    let _ = job.answer.send(replies);
                }
            }
            // One job too many must not fail the others.
            Err(StoreError::Full) if jobs.len() > 1 => {
                jobs.into_iter().for_each(|job| self.commit(vec![job]))
            }
            Err(error) => {
                tracing::error!(%error, jobs = jobs.len(), "commit failed");
                *lock(&self.trouble) = Some(error.to_string());
                for job in jobs {
                    let _ = job.answer.send(job.steps.iter().map(|_| Reply::error(&error)).collect());
                }
            }
        }
    }

    fn try_commit(&self, jobs: &[Job]) -> store::StoreResult<Vec<Vec<Reply>>> {
        self.store.commit(|edit| {
            jobs.iter().map(|job| job.steps.iter().map(|step| step.run(edit)).collect()).collect()
        })
    }
}

fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.bytes();
    let mut jobs = vec![first];
    while bytes < MAX_GROUP_BYTES
        && let Ok(job) = queue.try_recv()
    {
        bytes += job.bytes();
        jobs.push(job);
    }
    jobs
}

impl Job {
    fn bytes(&self) -> usize {
        self.steps.iter().map(JobStep::bytes).sum()
    }
}

/// A writer that panicked leaves connections that wait for ever, or are told that nothing happened when it did. A
/// process that has ended is something that a supervisor can deal with.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the writer panicked");
            std::process::abort();
        }
    }
}
