//! Real peers on a real socket; the main loop is played by the test.
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::inbox::inbox;
use crate::protocol::StatusReport;

const LONG: Duration = Duration::from_secs(180);

fn report() -> StatusReport {
    let text = r#"{"activity":"watching","supervisor_pid":1,"supervisor_version":"1","supervisor_up_secs":1.0,"daemon":null,
        "answer":null,"silence":null,"restarts":0,"last_swap":null,"recovery":null}"#;
    serde_json::from_str(text).unwrap()
}

/// A server at a path, and how often its loop was asked for a report.
struct ScrapeScene {
    dir: tempfile::TempDir,
    asked: Arc<AtomicU32>,
    _server: ScrapeServer,
}

impl ScrapeScene {
    fn new() -> ScrapeScene {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, mut inbox) = inbox().unwrap();
        let addr = Addr::Unix(dir.path().join("s"));
        let server = ScrapeServer::start(&addr, SupervisorMetrics::default(), outbox).unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            loop {
                poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
                for event in inbox.take() {
                    let LoopEvent::Asked(Asked { request: TriggerRequest::Status {}, reply }) = event else {
                        panic!("{event:?}");
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    reply.send(TriggerAnswer::Status(Box::new(report())));
                }
            }
        });
        ScrapeScene { dir, asked, _server: server }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("s")).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Returns what a peer that sends `request` is answered.
    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        answer(stream)
    }

    #[track_caller]
    fn assert_answers(&self) {
        let answer = self.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

fn answer(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_scrape_is_answered_with_the_metrics_and_their_length() {
    let scene = ScrapeScene::new();
    let answer = scene.ask(b"GET /metrics?x=1 HTTP/1.0\r\nAccept: */*\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("\nhandoff_daemon_serving 0\n"), "{body}");
}

#[test]
fn what_is_no_scrape_is_told_what_is_wrong_with_it() {
    let scene = ScrapeScene::new();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\x16\x03\x01\0\0\0\0", "400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", "400"),
        (&[b"GET /metrics HTTP/1.1\r\n".as_slice(), &b"A: b\r\n".repeat(65), b"\r\n"].concat(), "400"),
        (&b"G".repeat(HEAD_MAX), "431"),
    ] {
        let answer = scene.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    assert_eq!(scene.asked.load(Ordering::Relaxed), 0, "the loop is not asked for these");
}

#[test]
fn peers_that_are_silent_drip_or_leave_keep_none_from_its_answer_and_are_ended() {
    let scene = ScrapeScene::new();
    let silent: Vec<UnixStream> = (0..3 * PEERS_MAX).map(|_| scene.connect()).collect();
    for mut dripping in &silent {
        // Those that made room are gone by now.
        let _ = dripping.write_all(b"GET /met");
    }
    scene.connect().shutdown(Shutdown::Both).unwrap();
    scene.assert_answers();
    for stream in silent {
        // An end, or a reset where something was sent meanwhile.
        assert_eq!((&stream).read(&mut [0]).unwrap_or_default(), 0, "it is ended");
    }
    scene.assert_answers();
}

#[test]
fn however_many_scrape_the_loop_is_asked_ten_times_a_second_at_most() {
    let scene = ScrapeScene::new();
    let begin = Instant::now();
    (0..100).for_each(|_| scene.assert_answers());
    let most = begin.elapsed().as_millis() / REPORT_AGE.as_millis() + 1;
    let asked = scene.asked.load(Ordering::Relaxed);
    assert!((1..=most).contains(&asked.into()), "{asked} times, at most {most}");
}

#[test]
fn a_loop_that_has_ended_is_no_metrics() {
    let (outbox, _) = inbox().unwrap();
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = ScrapeServer::start(&Addr::Tcp(addr), SupervisorMetrics::default(), outbox).unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer(stream).starts_with("HTTP/1.1 503 "));
    drop(server);
}

#[test]
fn the_path_goes_with_the_server() {
    let scene = ScrapeScene::new();
    let path = scene.dir.path().join("s");
    assert!(path.exists());
    drop(scene._server);
    assert!(!path.exists());
}
