//! `cargo bench --bench connections`: what clients see of a swap, by the number of connections that are open.
//!
//! Most connections are idle; of every ten, two have sent half a line. One client asks and waits for the answer, again and again:
//! its slowest answer during a swap is the pause.
use std::error::Error;
use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use handoff::{Child, HandoffOutcome, SpawnSpec, Supervisor};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DAEMON: &str = env!("CARGO_BIN_EXE_echo-daemon");

#[derive(Debug, Parser)]
struct ConnectionOptions {
    /// The number of swaps that each number of connections sees.
    #[arg(long, default_value_t = 50)]
    swaps: usize,
    /// The numbers of connections that are open; may be repeated.
    #[arg(long = "open", default_values_t = [1, 100, 1000, 9000])]
    open: Vec<usize>,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Fallible<()> {
    let options = ConnectionOptions::parse();
    println!("{} swaps of a daemon that keeps its connections", options.swaps);
    println!(
        "{:>12}{:>18}{:>12}{:>18}{:>8}",
        "connections", "pause, ms: median", "p99", "swap, ms: median", "cut"
    );
    for &open in &options.open {
        let mut seen = measure(open, options.swaps)?;
        seen.pauses.sort_unstable();
        seen.swaps.sort_unstable();
        let ms = |sorted: &[Duration], quantile: f64| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        let (median, p99, swap) = (ms(&seen.pauses, 0.5), ms(&seen.pauses, 0.99), ms(&seen.swaps, 0.5));
        println!("{open:>12}{median:>18.2}{p99:>12.2}{swap:>18.2}{:>8}", seen.cut);
    }
    Ok(())
}

/// The events that clients saw.
#[derive(Debug, Default)]
struct SeenByClients {
    pauses: Vec<Duration>,
    swaps: Vec<Duration>,
    cut: usize,
}

fn measure(open: usize, swaps: usize) -> Fallible<SeenByClients> {
    let dir = tempfile::Builder::new().prefix("c").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (data, control) = (dir.path().join("data"), dir.path().join("sock"));
    DirBuilder::new().mode(0o700).create(&data)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let supervisor = Supervisor::new(&control)?.with_listener("echo", listener)?;
    let mut spec = SpawnSpec::new(DAEMON);
    spec.args = [&data, &control].map(|path| path.display().to_string().into()).to_vec();
    spec.retire_limit = Duration::from_secs(30);
    let mut child = committed(supervisor.cold_start(spec.clone())?)?;
    let clients: Vec<EchoClient> =
        (1..open).map(|_| EchoClient::connect(address)).collect::<io::Result<_>>()?;
    let halves = clients.iter().enumerate().filter(|(nth, _)| nth % 5 == 0);
    halves.clone().try_for_each(|(_, client)| client.say("ha"))?;
    let mut seen = SeenByClients::default();
    let stop = AtomicBool::new(false);
    let slowest = Mutex::new(Duration::ZERO);
    thread::scope(|scope| -> Fallible<()> {
        let prober = scope.spawn(|| probe(address, &stop, &slowest));
        let swapped = (0..swaps).try_for_each(|_| -> Fallible<()> {
            thread::sleep(Duration::from_millis(30));
            take(&slowest);
            let began = Instant::now();
            let outcome = supervisor.perform_handoff(spec.clone())?;
            child = committed(outcome)?;
            seen.swaps.push(began.elapsed());
            thread::sleep(Duration::from_millis(20));
            seen.pauses.push(take(&slowest));
            Ok(())
        });
        stop.store(true, SeqCst);
        seen.cut += usize::from(!matches!(prober.join(), Ok(Ok(()))));
        swapped
    })?;
    halves.clone().try_for_each(|(_, client)| client.say("lf"))?;
    for (nth, client) in clients.into_iter().enumerate() {
        let expected = if nth % 5 == 0 { "half\n" } else { "\n" };
        seen.cut += usize::from(client.say("\n").is_err() || client.hear().ok().as_deref() != Some(expected));
    }
    child.kill()?;
    child.wait_timeout(Duration::from_secs(10))?;
    Ok(seen)
}

fn take(slowest: &Mutex<Duration>) -> Duration {
    slowest.lock().map_or(Duration::MAX, |mut slowest| std::mem::take(&mut slowest))
}

/// Asks again and again, and notes the slowest answer.
fn probe(address: SocketAddr, stop: &AtomicBool, slowest: &Mutex<Duration>) -> io::Result<()> {
    let mut client = EchoClient::connect(address)?;
    while !stop.load(SeqCst) {
        let asked = Instant::now();
        client.say("line\n")?;
        if client.listen()? != "line\n" {
            return Err(io::Error::other("another answer"));
        }
        let took = asked.elapsed();
        if let Ok(mut slowest) = slowest.lock() {
            *slowest = took.max(*slowest);
        }
    }
    Ok(())
}

/// A client that never connects again.
#[derive(Debug)]
struct EchoClient(BufReader<TcpStream>);

impl EchoClient {
    fn connect(address: SocketAddr) -> io::Result<EchoClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(EchoClient(BufReader::with_capacity(256, stream)))
    }

    fn say(&self, text: &str) -> io::Result<()> {
        self.0.get_ref().write_all(text.as_bytes())
    }

    fn listen(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }

    fn hear(mut self) -> io::Result<String> {
        self.listen()
    }
}

fn committed(outcome: HandoffOutcome) -> Fallible<Child> {
    match outcome.child {
        Some(child) if outcome.warnings.is_empty() => Ok(child),
        _ => Err(format!("{:?}: {:?} {:?}", outcome.verdict, outcome.abort_reason, outcome.warnings).into()),
    }
}
