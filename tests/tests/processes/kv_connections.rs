//! The key-value server's clients keep their connections, and what they are in the middle of, whatever becomes of a swap.
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use handoff_tests::held::kill;
use handoff_tests::{Bin, Reference, World, free_address, until, until_some};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};

/// Far longer than anything takes: a client that waits so long has lost its reply.
const LOST: Duration = Duration::from_secs(120);

/// A client that keeps its one connection. The end of it, or bytes that were not to come, fail the test.
struct KvClient(TcpStream);

impl KvClient {
    fn connect(addr: &str) -> KvClient {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LOST)).unwrap();
        stream.set_nodelay(true).unwrap();
        KvClient(stream)
    }

    fn send(&mut self, request: &str) {
        self.0.write_all(request.as_bytes()).expect("the connection is open");
    }

    #[track_caller]
    fn expect(&mut self, reply: &str) {
        let mut bytes = vec![0; reply.len()];
        if let Err(error) = self.0.read_exact(&mut bytes) {
            panic!("{error} instead of {}", start(reply.as_bytes()));
        }
        assert!(bytes == reply.as_bytes(), "{} instead of {}", start(&bytes), start(reply.as_bytes()));
    }

    #[track_caller]
    fn ask(&mut self, request: &str, reply: &str) {
        self.send(request);
        self.expect(reply);
    }

    /// Returns what comes up to and with `end`.
    #[track_caller]
    fn up_to(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("the connection is open");
            bytes.extend(byte);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// `GET /healthz`, in two parts, with something in between.
    fn health(&mut self, between: impl FnOnce()) {
        self.send("GET /healthz HTTP/1.1\r\nHo");
        between();
        self.send("st: kv\r\n\r\n");
        let head = self.up_to("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Connection: keep-alive"), "{head}");
        self.expect("ok\n");
    }
}

/// The first of `bytes`, for people.
fn start(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// The key-value server under the reference supervisor.
struct KvServed {
    world: World,
    resp: String,
    http: String,
    reference: Reference,
}

/// The fate of a swap.
#[derive(Clone, Copy, Debug)]
enum SwapFate {
    Committed,
    FailsToOpen,
    KilledWhileItOpens,
}

const FATES: [SwapFate; 4] =
    [SwapFate::Committed, SwapFate::FailsToOpen, SwapFate::KilledWhileItOpens, SwapFate::Committed];

impl KvServed {
    fn start() -> KvServed {
        let world = World::new();
        let (resp, http) = (free_address(), free_address());
        let reference = Reference::new(&world, &[("resp", resp.clone()), ("http", http.clone())]);
        let served = KvServed { world, resp, http, reference };
        served.configure(None);
        served.reference.start();
        served
    }

    fn configure(&self, fault: Option<&str>) {
        let (data, control) = (self.world.layout().data(), self.world.layout().control());
        let [data, control] = [data, control].map(|path| path.display().to_string());
        let mut arguments = vec!["--data", &data, "--control", &control, "--map-size-mb", "64"];
        arguments.extend(fault);
        self.reference.configure(&Bin::Kv.path(), &arguments);
    }

    fn swap(&self, fate: SwapFate) {
        let fault = match fate {
            SwapFate::Committed => None,
            SwapFate::FailsToOpen => Some("--fail-open"),
            SwapFate::KilledWhileItOpens => Some("--hang-open"),
        };
        self.configure(fault);
        let said_before = self.hanging();
        let (code, swap) = thread::scope(|scope| {
            let swap = scope.spawn(|| self.reference.ask_json("swap"));
            if let SwapFate::KilledWhileItOpens = fate {
                let hangs = until_some("the successor opens", || {
                    self.hanging().difference(&said_before).next().copied()
                });
                kill(hangs);
            }
            swap.join().unwrap()
        });
        let outcome = if fault.is_none() { "committed" } else { "rolled_back" };
        assert_eq!(
            (code, &swap["outcome"]),
            (i32::from(fault.is_some()), &outcome.into()),
            "{fate:?}: {swap}"
        );
    }

    /// The processes that have said that they hang.
    fn hanging(&self) -> BTreeSet<u32> {
        let output = self.world.output();
        let lines = output.lines().filter(|line| line.contains("--hang-open)"));
        lines.filter_map(|line| line.split_once("kv[")?.1.split_once(']')?.0.parse().ok()).collect()
    }

    fn client(&self) -> KvClient {
        KvClient::connect(&self.resp)
    }

    fn sets(&self, key: &str, value: &str) {
        self.client().ask(&command(&["SET", key, value]), "+OK\r\n");
    }
}

fn command(args: &[&str]) -> String {
    let parts: String = args.iter().map(|arg| format!("${}\r\n{arg}\r\n", arg.len())).collect();
    format!("*{}\r\n{parts}", args.len())
}

#[test]
fn a_client_that_is_idle_stays_what_it_was() {
    let served = KvServed::start();
    let (mut plain, mut new, mut named) = (served.client(), served.client(), served.client());
    plain.ask("PING\r\n", "+PONG\r\n");
    named.send("HELLO 3 SETNAME me\r\n");
    named.up_to("modules\r\n*0\r\n");
    named.send("CLIENT ID\r\n");
    let id = named.up_to("\r\n");
    for fate in FATES {
        served.swap(fate);
        named.ask("GET none\r\n", "_\r\n");
        named.ask("CLIENT GETNAME\r\n", "$2\r\nme\r\n");
        named.ask("CLIENT ID\r\n", &id);
        plain.ask("GET none\r\n", "$-1\r\n");
    }
    new.ask("PING\r\n", "+PONG\r\n");
    let mut other = served.client();
    other.send("CLIENT ID\r\n");
    assert_ne!(other.up_to("\r\n"), id, "a number is given once");
}

#[test]
fn half_a_command_is_executed_once_and_what_was_before_it_is_not_repeated() {
    let served = KvServed::start();
    let (mut first, mut behind) = (served.client(), served.client());
    for (round, fate) in (1..).zip(FATES) {
        let (one, two) = INCR.split_at(17);
        first.send(one);
        behind.ask(
            &format!("INCR many\r\nINCR many\r\n{one}"),
            &format!(":{}\r\n:{}\r\n", 3 * round - 2, 3 * round - 1),
        );
        served.swap(fate);
        first.ask(two, &format!(":{}\r\n", 2 * round - 1));
        let (three, rest) = two.split_at(3);
        behind.send(three);
        served.swap(fate);
        behind.ask(rest, &format!(":{}\r\n", 2 * round));
        behind.ask("INCR many\r\n", &format!(":{}\r\n", 3 * round));
    }
}

const INCR: &str = "*2\r\n$4\r\nINCR\r\n$3\r\nfew\r\n";

#[test]
fn a_transaction_goes_on_where_it_was() {
    let served = KvServed::start();
    let (mut client, mut other, mut broken) = (served.client(), served.client(), served.client());
    broken.ask("MULTI\r\nNONE\r\n", "+OK\r\n-ERR unknown command 'none'\r\n");
    for (round, fate) in (1..).zip(FATES) {
        client.ask("MULTI\r\nSET k v\r\nINCR n\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
        served.swap(fate);
        other.ask(
            "GET n\r\n",
            &if round == 1 { "$-1\r\n".into() } else { format!("$1\r\n{}\r\n", round - 1) },
        );
        client.ask("GET n\r\nEXEC\r\n", &format!("+QUEUED\r\n*3\r\n+OK\r\n:{round}\r\n$1\r\n{round}\r\n"));
    }
    broken.ask("EXEC\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    broken.ask("EXEC\r\n", "-ERR EXEC without MULTI\r\n");
}

#[test]
fn a_subscriber_hears_every_message_once() {
    let served = KvServed::start();
    let (mut two, mut three, mut silent) = (served.client(), served.client(), served.client());
    let confirmed = |sign: char, name: &str, count: u32| {
        format!("{sign}3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:{count}\r\n", name.len())
    };
    two.ask("SUBSCRIBE a b\r\n", &(confirmed('*', "a", 1) + &confirmed('*', "b", 2)));
    silent.ask("SUBSCRIBE a\r\n", &confirmed('*', "a", 1));
    three.send("HELLO 3\r\n");
    three.up_to("modules\r\n*0\r\n");
    three.ask("SUBSCRIBE a\r\n", &confirmed('>', "a", 1));
    let mut half = served.client();
    half.ask("SUBSCRIBE a\r\n", &confirmed('*', "a", 1));
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let message = |sign: char, number: u64| {
        let number = number.to_string();
        format!("{sign}3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{number}\r\n", number.len())
    };
    let count = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = served.client();
            let mut number = 0;
            while !stop.load(SeqCst) {
                client.ask(&command(&["PUBLISH", "a", &number.to_string()]), ":4\r\n");
                number += 1;
                published.store(number, SeqCst);
                thread::sleep(Duration::from_micros(500));
            }
            number
        });
        let stop = StopKvClients(&stop);
        for fate in FATES {
            let before = published.load(SeqCst);
            half.send("PI");
            until("messages are published", || published.load(SeqCst) > before + 20);
            served.swap(fate);
            half.send("NG\r\n");
        }
        drop(stop);
        publisher.join().unwrap()
    });
    for number in 0..count {
        two.expect(&message('*', number));
        three.expect(&message('>', number));
        silent.expect(&message('*', number));
    }
    let (mut heard, mut answered) = (0, 0);
    while (heard, answered) != (count, FATES.len()) {
        match half.up_to("\r\n").as_str() {
            "*3\r\n" => {
                half.expect(&message('*', heard)[4..]);
                heard += 1;
            }
            "*2\r\n" => {
                half.expect("$4\r\npong\r\n$0\r\n\r\n");
                answered += 1;
            }
            other => panic!("{other} after {heard} messages and {answered} replies"),
        }
    }
    two.ask("UNSUBSCRIBE a\r\n", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n");
    two.ask("PING\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    three.ask("PING\r\n", "+PONG\r\n");
}

#[test]
fn a_client_that_does_not_read_gets_all_its_replies_and_messages_later() {
    let served = KvServed::start();
    let large = "x".repeat(1 << 20);
    served.sets("k", &large);
    let (mut asks, mut hears) = (served.client(), served.client());
    // The system makes it larger by itself otherwise.
    [&asks, &hears].iter().for_each(|client| setsockopt(&client.0, RcvBuf, &(64 * 1024)).unwrap());
    hears.ask("SUBSCRIBE a\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    let reply = format!("${}\r\n{large}\r\n", large.len());
    asks.send(&"GET k\r\n".repeat(20));
    // So the others are on their way.
    asks.expect(&reply);
    let messages: Vec<String> = (0..6).map(|number| number.to_string().repeat(700_000)).collect();
    let publish = |message: &String| served.client().ask(&command(&["PUBLISH", "a", message]), ":1\r\n");
    messages[..3].iter().for_each(publish);
    FATES.into_iter().for_each(|fate| served.swap(fate));
    messages[3..].iter().for_each(publish);
    (1..20).for_each(|_| asks.expect(&reply));
    asks.ask("PING\r\n", "+PONG\r\n");
    for message in &messages {
        hears.expect(&format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{message}\r\n", message.len()));
    }
}

#[test]
fn an_http_client_keeps_its_connection() {
    let served = KvServed::start();
    let (mut idle, mut half) = (KvClient::connect(&served.http), KvClient::connect(&served.http));
    for fate in FATES {
        idle.health(|| {});
        half.health(|| served.swap(fate));
    }
    idle.health(|| {});
}

#[test]
fn pipelines_are_answered_whole_and_in_order() {
    let served = KvServed::start();
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for id in 0..8 {
            let (served, stop, answered) = (&served, &stop, &answered);
            scope.spawn(move || {
                let mut client = served.client();
                // Reads end a run of writes: both are on both sides of a boundary.
                let request = format!("INCR n{id}\r\nINCR n{id}\r\nGET n{id}\r\n").repeat(20);
                let mut number = 0;
                while !stop.load(SeqCst) {
                    client.send(&request);
                    for _ in 0..20 {
                        number += 2;
                        let text = number.to_string();
                        let reply = format!(":{}\r\n:{number}\r\n${}\r\n{text}\r\n", number - 1, text.len());
                        client.expect(&reply);
                    }
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let stop = StopKvClients(&stop);
        for fate in FATES.into_iter().cycle().take(8) {
            let before = answered.load(SeqCst);
            until("pipelines are answered", || answered.load(SeqCst) > before + 20);
            served.swap(fate);
        }
        drop(stop);
    });
}

/// Lets clients end, also when the test fails.
struct StopKvClients<'a>(&'a AtomicBool);

impl Drop for StopKvClients<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
