//! Real peers on a real socket; the main loop is played by the test.
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::geteuid;

use super::*;
use crate::inbox::{Inbox, inbox};

const LONG: Duration = Duration::from_secs(180);

struct ServedTrigger {
    dir: tempfile::TempDir,
    _socket: TriggerSocket,
    inbox: Inbox<Asked>,
}

impl ServedTrigger {
    fn new() -> ServedTrigger {
        ServedTrigger::with_access(Access::new(geteuid().as_raw(), &[]))
    }

    fn with_access(access: Access) -> ServedTrigger {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, inbox) = inbox().unwrap();
        let mut socket = TriggerSocket::bind(&dir.path().join("t"), access).unwrap();
        socket.serve(outbox, |asked| asked, || None).unwrap();
        ServedTrigger { dir, _socket: socket, inbox }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("t")).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// The next request, as the main loop gets it.
    fn next(&mut self) -> Asked {
        let mut fds = [PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 20_000u16).unwrap(), 1, "no request came");
        self.inbox.take().pop().unwrap()
    }
}

fn send(mut stream: &UnixStream, text: &[u8]) {
    stream.write_all(text).unwrap();
}

fn answer_to(stream: &UnixStream) -> CommandFailure {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    match serde_json::from_str(&line) {
        Ok(TriggerAnswer::Error(failure)) => failure,
        other => panic!("{line}: {other:?}"),
    }
}

fn note(text: &str) -> TriggerAnswer {
    refused(Code::Busy, text)
}

#[test]
fn the_mode_follows_from_who_may_connect() {
    assert_eq!(Access::new(1000, &[]).mode(), 0o600);
    assert_eq!(Access::new(1000, &[0, 1000]).mode(), 0o600, "root needs no mode");
    assert_eq!(Access::new(1000, &[33]).mode(), 0o666);
    for access in [Access::new(geteuid().as_raw(), &[]), Access::new(geteuid().as_raw(), &[4242])] {
        let mode = access.mode();
        let served = ServedTrigger::with_access(access);
        let found = fs::metadata(served.dir.path().join("t")).unwrap().mode();
        assert_eq!(found & 0o777, mode);
    }
}

#[test]
fn only_root_oneself_and_those_listed_are_admitted() {
    let access = Access::new(1000, &[33]);
    assert_eq!([0, 1000, 33].map(|uid| access.admits(uid)), [true; 3]);
    assert_eq!([1, 34, u32::MAX].map(|uid| access.admits(uid)), [false; 3]);
}

#[test]
fn the_peer_s_uid_comes_from_the_kernel() {
    let (one, _other) = UnixStream::pair().unwrap();
    assert_eq!(peer_uid(&one).unwrap(), geteuid().as_raw());
}

#[test]
fn a_request_reaches_the_loop_and_its_answer_the_peer() {
    let mut served = ServedTrigger::new();
    let peer = served.connect();
    send(&peer, b"{\"cmd\":\"sw");
    send(&peer, b"ap\"}\n");
    let asked = served.next();
    assert_eq!(asked.request, crate::protocol::parse_request(br#"{"cmd":"swap"}"#).unwrap());
    assert!(asked.reply.progress().is_none(), "it did not ask for that");
    asked.reply.send(note("done"));
    assert_eq!(answer_to(&peer).message, "done");
}

fn comes_to(phase: &str) -> SwapProgress {
    let handoff_id = "7".into();
    SwapProgress { handoff_id, phase: phase.into(), elapsed_ms: 1.0, incumbent: None, successor: None }
}

#[test]
fn a_peer_that_wants_to_know_is_told_how_far_it_has_come_and_then_the_answer() {
    let mut served = ServedTrigger::new();
    let peer = served.connect();
    send(&peer, b"{\"cmd\":\"swap\",\"progress\":true}\n");
    let Asked { reply, .. } = served.next();
    let mut progress = reply.progress().unwrap();
    let mut lines = BufReader::new(&peer).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    for phase in ["warm_up", "drain"] {
        progress.send(comes_to(phase));
        assert_eq!(lines.next(), Some(TriggerAnswer::Progress(comes_to(phase))), "at once");
    }
    reply.send(note("done"));
    progress.send(comes_to("late"));
    assert_eq!(lines.collect::<Vec<_>>(), [note("done")]);
}

#[test]
fn a_peer_that_reads_nothing_or_has_gone_holds_up_nobody_and_what_it_is_told_is_bounded() {
    let mut served = ServedTrigger::new();
    for leaves in [false, true] {
        let mut peer = Some(served.connect());
        send(peer.as_ref().unwrap(), b"{\"cmd\":\"swap\",\"progress\":true}\n");
        let Asked { reply, .. } = served.next();
        let mut progress = reply.progress().unwrap();
        if leaves {
            peer = None;
        }
        let started = Instant::now();
        let long = "x".repeat(100_000);
        for _ in 0..10 * PROGRESS_MAX {
            progress.send(SwapProgress { handoff_id: long.clone(), ..comes_to("drain") });
        }
        assert!(started.elapsed() < PEER_LIMIT, "it was waited for");
        assert_eq!(progress.left, 0);
        reply.send(note("done"));
        drop(peer);
    }
    // The next one is served as before.
    let peer = served.connect();
    send(&peer, b"{\"cmd\":\"status\"}\n");
    served.next().reply.send(note("here"));
    assert_eq!(answer_to(&peer).message, "here");
}

#[test]
fn a_peer_whose_request_is_given_up_is_told_so_though_its_progress_is_still_held() {
    let mut served = ServedTrigger::new();
    let peer = served.connect();
    send(&peer, b"{\"cmd\":\"swap\",\"progress\":true}\n");
    let Asked { reply, .. } = served.next();
    let _progress = reply.progress();
    drop(reply);
    assert_eq!(answer_to(&peer).code, Code::Unconfirmed);
}

#[test]
fn while_one_is_waiting_for_its_answer_others_are_served() {
    let mut served = ServedTrigger::new();
    let (first, second) = (served.connect(), served.connect());
    send(&first, b"{\"cmd\":\"swap\"}\n");
    let waiting = served.next();
    send(&second, b"{\"cmd\":\"status\"}\n");
    served.next().reply.send(note("second"));
    assert_eq!(answer_to(&second).message, "second");
    waiting.reply.send(note("first"));
    assert_eq!(answer_to(&first).message, "first");
}

/// Were they waited for, that would show each time; a machine that is busy for seconds does not come five times in a row.
#[test]
fn peers_that_are_silent_or_drip_delay_nobody_however_many_they_are() {
    let mut took = (0..5).map(|_| answered_beside_silent_peers());
    assert!(took.any(|took| took < PEER_LIMIT), "it waited for the silent ones");
}

/// Returns how long it takes to be answered while there are more silent peers than are listened to.
fn answered_beside_silent_peers() -> Duration {
    let mut served = ServedTrigger::new();
    let silent: Vec<UnixStream> = (0..3 * READING_MAX).map(|_| served.connect()).collect();
    silent.iter().for_each(|mut peer| drop(peer.write(b"{")));
    let started = Instant::now();
    let peer = served.connect();
    send(&peer, b"{\"cmd\":\"status\"}\n");
    served.next().reply.send(note("here"));
    assert_eq!(answer_to(&peer).message, "here");
    let mut rest = Vec::new();
    let cut = (&silent[0]).read_to_end(&mut rest);
    assert!(rest.is_empty(), "the oldest has made room, without a word: {cut:?} {rest:?}");
    started.elapsed()
}

#[test]
fn a_peer_that_drips_is_cut_off_at_an_absolute_time() {
    let served = ServedTrigger::new();
    let peer = served.connect();
    let started = Instant::now();
    let limit = started + LONG;
    let mut dripping = peer.try_clone().unwrap();
    while dripping.write_all(b" ").is_ok() {
        assert!(Instant::now() < limit, "it may drip for ever");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() >= PEER_LIMIT - Duration::from_millis(100));
}

#[test]
fn what_is_torn_too_long_or_nonsense_is_told_so() {
    let served = ServedTrigger::new();
    let cases: [(&[u8], &str); 3] = [
        (b"{\"cmd\":\"swap\"}", "no newline"),
        (b"{\"cmd\":\"reboot\"}\n", "not a request"),
        (&[b' '; REQUEST_MAX], "longer than"),
    ];
    for (text, why) in cases {
        let peer = served.connect();
        send(&peer, text);
        peer.shutdown(Shutdown::Write).unwrap();
        let failure = answer_to(&peer);
        assert!(failure.code == Code::Data && failure.message.contains(why), "{failure:?}");
    }
}

#[test]
fn a_stranger_is_told_that_he_is_not_listed_and_is_not_heard() {
    let (stranger, stream) = UnixStream::pair().unwrap();
    send(&stranger, b"{\"cmd\":\"swap\"}\n");
    let post: Post = Arc::new(|asked| panic!("{asked:?}"));
    assert!(!Access::new(1000, &[33]).admits(4242));
    admit(stream, Some(4242), &Arc::default(), &post).unwrap();
    let failure = answer_to(&stranger);
    assert!(failure.code == Code::NotAllowed && failure.message.contains("4242"), "{failure:?}");
}

#[test]
fn a_request_nobody_answers_is_not_left_waiting() {
    let mut served = ServedTrigger::new();
    for (request, code) in [("swap", Code::Unconfirmed), ("status", Code::Unavailable)] {
        let peer = served.connect();
        send(&peer, format!("{{\"cmd\":\"{request}\"}}\n").as_bytes());
        drop(served.next());
        assert_eq!(answer_to(&peer).code, code);
    }
}

#[test]
fn a_dead_socket_is_replaced_a_file_is_not_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::new(geteuid().as_raw(), &[]);
    let path = dir.path().join("t");
    drop(UnixListener::bind(&path).unwrap());
    drop(TriggerSocket::bind(&path, access.clone()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    fs::write(&path, "precious").unwrap();
    assert!(TriggerSocket::bind(&path, access).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// Not a test: what the next one runs as another user, whose threads are limited.
#[test]
#[ignore = "run by another test as a process of its own"]
fn a_supervisor_without_threads() {
    let served = ServedTrigger::new();
    setrlimit(Resource::RLIMIT_NPROC, 1, 1).unwrap();
    // It is answered before it asks: what it would send may find the link closed.
    let failure = answer_to(&served.connect());
    assert_eq!(failure.code, Code::System);
    assert!(failure.message.contains("can't start a thread"), "{failure:?}");
}

#[test]
fn a_peer_for_which_there_is_no_thread_is_told_so_and_not_that_the_supervisor_has_ended() {
    if !geteuid().is_root() {
        return eprintln!(
            "skipped: only root can run a process as another user, and only such a one is limited"
        );
    }
    let mut command = Command::new("/proc/self/exe");
    let test = "trigger::tests::a_supervisor_without_threads";
    command.args(["--exact", test, "--ignored", "--nocapture"]).uid(65_534).gid(65_534).current_dir("/");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}
