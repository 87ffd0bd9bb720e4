//! Whole async daemons in this process, and servers that shut down gracefully.
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]
use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use handoff::daemon::{Listeners, bind};
use handoff_tokio::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(180);

/// Reads a request of two bytes of each client, and answers with the same. Once it is told to shut down, it closes a connection that
/// has not sent anything, as servers of HTTP do.
async fn pairs(mut listener: AsyncListener) -> io::Result<()> {
    let drained = listener.drained();
    let mut clients = tokio::task::JoinSet::new();
    let accept = async {
        loop {
            let (mut client, _) = listener.accept().await?;
            let drained = listener.drained();
            clients.spawn(async move {
                let first = tokio::select! {
                    first = client.read_u8() => first?,
                    () = drained => return Ok(()),
                };
                let second = client.read_u8().await?;
                client.write_all(&[first, second]).await
            });
        }
    };
    tokio::select! {
        failed = accept => return failed,
        () = drained => {}
    }
    while clients.join_next().await.is_some() {}
    Ok(())
}

fn started(patience: Patience) -> (Runtime, AsyncServer, String) {
    let listeners = Listeners::from_entries(vec![("pairs".into(), bind("127.0.0.1:0").unwrap())]).unwrap();
    let (address, runtime) = (listeners.address("pairs").unwrap(), Runtime::new().unwrap());
    let mut server = AsyncServer::new("pairs", pairs).patience(patience);
    runtime.block_on(async { server.start(&mut listeners.into()) }).unwrap();
    (runtime, server, address)
}

fn connect(address: &str) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(GRACE)).unwrap();
    client
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + GRACE;
    while !done() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pair(client: &mut TcpStream, byte: u8) {
    client.write_all(&[byte; 2]).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, [byte; 2]);
}

#[test]
fn a_new_connection_may_send_its_first_request_before_a_server_shuts_down() {
    let (runtime, mut server, address) = started(Patience::new(Patience::default().stall, HOUR));
    let mut client = connect(&address);
    until("the connection is accepted", || server.open() == 1);
    let mut drain = Box::pin(server.drain(GRACE));
    let early = runtime.block_on(async {
        tokio::select! {
            report = &mut drain => Some(report),
            () = sleep(Duration::from_millis(50)) => None,
        }
    });
    assert_eq!(early, None, "the drain waits for it");
    let mut queued = connect(&address);
    queued.write_all(b"qq").unwrap();
    queued.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(queued.read(&mut [0]).is_err(), "nothing is accepted");
    let asks = std::thread::spawn(move || pair(&mut client, b'a'));
    let report = runtime.block_on(drain);
    assert_eq!(report, DrainReport::closed(0));
    asks.join().unwrap();
}

#[test]
fn a_server_accepts_nothing_in_a_drain_and_goes_on_after_a_resume() {
    let (runtime, mut server, address) = started(Patience::default());
    for byte in 0..3 {
        pair(&mut connect(&address), byte);
        runtime.block_on(server.drain(GRACE));
        let mut queued = connect(&address);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(server.open(), 0);
        runtime.block_on(async { server.resume() }).unwrap();
        pair(&mut queued, byte);
    }
}

#[test]
fn the_grace_of_a_drain_leaves_what_a_server_still_has() {
    let (runtime, mut server, address) = started(Patience::default());
    let mut client = connect(&address);
    client.write_all(b"l").unwrap();
    let mut silent = connect(&address);
    until("both connections are accepted", || server.open() == 2);
    let report = runtime.block_on(server.drain(Duration::from_millis(500)));
    assert_eq!(report, DrainReport::closed(1));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    client.write_all(b"l").unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"ll");
}

/// The behaviour of a daemon of these tests in its hook `open`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    Panics,
    TakesAWhile,
}

/// A daemon that never serves.
struct Scripted {
    opening: Opening,
    opened: Arc<AtomicBool>,
}

impl AsyncDaemon for Scripted {
    async fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        assert!(self.opening != Opening::Panics, "a hook's");
        sleep(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
        self.opened.store(true, SeqCst);
        Err("not today".into())
    }
    async fn serve(&mut self, _: AsyncListeners) -> HookResult<()> {
        Err("it has not opened".into())
    }
    async fn drain(&mut self, _: Duration) -> HookResult<DrainReport> {
        Ok(DrainReport::default())
    }
    async fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::default())
    }
    async fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> {
        Ok(())
    }
    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::default()
    }
}

fn place() -> (TempDir, Options) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    DirBuilder::new().mode(0o700).create(&data).unwrap();
    let options = Options::new(data, dir.path().join("control"));
    (dir, options)
}

fn scripted(opening: Opening) -> (Scripted, Arc<AtomicBool>) {
    let opened = Arc::new(AtomicBool::new(false));
    (Scripted { opening, opened: opened.clone() }, opened)
}

#[test]
fn a_hook_that_panics_or_fails_has_failed_in_words() {
    for runtime in [Runtime::new().unwrap(), current_thread()] {
        for (opening, why) in
            [(Opening::Panics, "the hook panicked: a hook's"), (Opening::TakesAWhile, "not today")]
        {
            let (_dir, options) = place();
            let (daemon, _) = scripted(opening);
            let failed = runtime.block_on(run(options, daemon)).unwrap_err();
            assert!(failed.to_string().contains(why), "{failed}");
        }
    }
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_hook_runs_to_its_end_also_if_run_is_dropped() {
    let (runtime, (_dir, options)) = (Runtime::new().unwrap(), place());
    let (daemon, opened) = scripted(Opening::TakesAWhile);
    runtime.block_on(async {
        let dropped = tokio::time::timeout(Duration::from_millis(10), run(options, daemon)).await;
        assert!(dropped.is_err(), "the hook takes longer");
    });
    until("the hook has ended", || opened.load(SeqCst));
}
