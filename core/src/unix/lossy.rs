//! A log that holds up no thread: lines are written by a thread of their own, and what can't be written in time is
//! lost, counted, and said once something can be written again.
//!
//! Standard error may be a pipe without a reader, a full disk, or closed. To write there directly would stop a process,
//! or end it: `eprintln!` panics. The well-known crate for such a writer prints to standard output when its queue is full
//! at the end, and does not count what failed to be written.
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::id::HandoffId;
use crate::unix::under_way;

/// The largest number of lines that wait to be written.
const LINES: usize = 4096;

/// Writes lines without ever waiting or failing. Copies write to the same place.
#[derive(Clone, Debug)]
pub struct LossyWriter {
    head: Arc<[u8]>,
    lines: SyncSender<Vec<u8>>,
    state: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct Backlog {
    /// Lines that are accepted and neither written nor lost yet.
    waiting: Mutex<usize>,
    settled: Condvar,
    /// Lines that were lost and not told yet.
    untold: AtomicU64,
    /// All lines that were lost.
    lost: AtomicU64,
}

impl Backlog {
    fn count(&self, change: isize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = waiting.saturating_add_signed(change);
        if *waiting == 0 {
            self.settled.notify_all();
        }
    }

    fn loses(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl LossyWriter {
    /// Starts the thread that writes to `out`. Each line begins with `head`; where both begin with `{`, they become one
    /// object. While this process takes part in a handoff, `handoff=<id>` comes next, or that member of the object. `told` makes a line of the number of lines that were lost.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        out: impl Write + Send + 'static,
        head: impl Into<Vec<u8>>,
        told: fn(u64) -> String,
    ) -> io::Result<LossyWriter> {
        let (lines, queue) = sync_channel(LINES);
        let state = Arc::<Backlog>::default();
        let writer = LossyWriter { head: head.into().into(), lines, state: Arc::clone(&state) };
        let head = Arc::clone(&writer.head);
        let work =
            move || write_all(out, &queue, &state, |lost| with_head(&head, None, told(lost).as_bytes()));
        thread::Builder::new().name("log".into()).spawn(work)?;
        Ok(writer)
    }

    /// The same for standard error, as it is now. It does not share the lock that `eprintln!` takes.
    ///
    /// # Errors
    /// Descriptors are exhausted, or no thread can be started.
    pub fn to_stderr(head: impl Into<Vec<u8>>, told: fn(u64) -> String) -> io::Result<LossyWriter> {
        use std::os::fd::AsFd;
        let out = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
        LossyWriter::start(out, head, told)
    }

    /// The number of lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written or lost, for up to `limit`: to be called before the process ends.
    pub fn settle(&self, limit: Duration) {
        let waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.state.settled.wait_timeout_while(waiting, limit, |waiting| *waiting > 0));
    }
}

impl Write for LossyWriter {
    /// Takes `line`, which is one or more whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.state.count(1);
        if self.lines.try_send(with_head(&self.head, under_way::handoff(), line)).is_err() {
            self.state.loses(1);
            self.state.count(-1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_head(head: &[u8], handoff: Option<HandoffId>, line: &[u8]) -> Vec<u8> {
    let (line, handoff) = match (head.first(), line.strip_prefix(b"{")) {
        (Some(b'{'), Some(rest)) => (rest, handoff.map(|id| format!("\"handoff\":\"{id}\","))),
        _ => (line, handoff.map(|id| format!("handoff={id} "))),
    };
    [head, handoff.unwrap_or_default().as_bytes(), line].concat()
}

/// Writes until no writer is left.
fn write_all(mut out: impl Write, queue: &Receiver<Vec<u8>>, state: &Backlog, told: impl Fn(u64) -> Vec<u8>) {
    for line in queue {
        let untold = state.untold.swap(0, Ordering::Relaxed);
        let said = if untold > 0 { out.write_all(&told(untold)) } else { Ok(()) };
        if said.is_err() {
            state.untold.fetch_add(untold, Ordering::Relaxed);
        }
        state.loses(u64::from(said.and_then(|()| out.write_all(&line)).is_err()));
        state.count(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Passes on what is written once the gate is open; fails while it is told to.
    struct Out {
        gate: Arc<Mutex<bool>>,
        written: Sender<String>,
    }

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.gate.lock().unwrap() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_can_not_be_written_is_lost_and_said_later() {
        let (written, lines) = channel();
        let fails = Arc::new(Mutex::new(true));
        let mut log = LossyWriter::start(Out { gate: Arc::clone(&fails), written }, "kv[7] ", told).unwrap();
        for _ in 0..3 {
            log.write_all(b"x\n").unwrap();
        }
        log.settle(LONG);
        assert!(lines.try_recv().is_err());
        *fails.lock().unwrap() = false;
        log.write_all(b"y\n").unwrap();
        log.settle(LONG);
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["kv[7] 3 lost\n", "kv[7] y\n"]);
        assert_eq!(log.lost(), 3, "each once, told or not");
    }

    #[test]
    fn a_place_that_takes_nothing_stops_nobody() {
        let (written, lines) = channel();
        let gate = Arc::new(Mutex::new(false));
        let shut = gate.lock().unwrap();
        let mut log = LossyWriter::start(Out { gate: Arc::clone(&gate), written }, "", told).unwrap();
        for _ in 0..LINES + 10 {
            log.write_all(b"x\n").unwrap();
        }
        log.settle(Duration::from_millis(10));
        drop(shut);
        log.settle(LONG);
        log.write_all(b"y\n").unwrap();
        log.settle(LONG);
        let said = lines.try_iter().collect::<Vec<_>>();
        let count = said.iter().filter(|line| *line == "x\n").count();
        let lost: usize =
            said.iter().filter_map(|line| line.strip_suffix(" lost\n")?.parse::<usize>().ok()).sum();
        assert_eq!(count + lost, LINES + 10, "each is written or counted");
        assert!(lost > 0);
    }

    #[test]
    fn objects_become_one() {
        assert_eq!(with_head(b"{\"pid\":7,", None, b"{\"a\":1}\n"), b"{\"pid\":7,\"a\":1}\n");
        assert_eq!(with_head(b"kv[7] ", None, b"{x}\n"), b"kv[7] {x}\n");
    }

    #[test]
    fn each_line_of_a_handoff_has_its_id() {
        let id = HandoffId([0xab; 16]);
        let object = with_head(b"{\"pid\":7,", Some(id), b"{\"a\":1}\n");
        assert_eq!(
            String::from_utf8(object).unwrap(),
            format!("{{\"pid\":7,\"handoff\":\"{id}\",\"a\":1}}\n")
        );
        let line = with_head(b"kv[7] ", Some(id), b"x\n");
        assert_eq!(String::from_utf8(line).unwrap(), format!("kv[7] handoff={id} x\n"));
    }
}
