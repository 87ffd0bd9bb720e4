//! A successor that is no user of the library, and misbehaves on the wire: `rogue MISDEED`.
#![allow(clippy::unwrap_used, reason = "a process of a test that cannot go on should panic")]
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use handoff::HandoffId;
use handoff::frame::{self, Decoder};
use handoff::message::{Capabilities, Hello, Message, MessageName, PROTO_MAX, PROTO_MIN, Role, Standing};
use handoff::unix::env::inherited;

fn main() {
    let misdeed = std::env::args().nth(1).unwrap();
    if misdeed == "exit" {
        std::process::exit(3);
    }
    let link = inherited().unwrap().unwrap().link;
    link.set_nonblocking(false).unwrap();
    let mut rogue = Rogue { link, decoder: Decoder::default() };
    rogue.misbehave(&misdeed);
    // Whatever was said is to be judged by what it was, not by this process's end.
    sleep(Duration::from_secs(3600));
}

struct Rogue {
    link: UnixStream,
    decoder: Decoder,
}

impl Rogue {
    fn misbehave(&mut self, misdeed: &str) {
        match misdeed {
            "hang" => {}
            "close" => self.link.shutdown(std::net::Shutdown::Both).unwrap(),
            "garbage" => self.send(&[0x5a; 4096]),
            // 4 GiB less a byte.
            "oversize" => self.send(&[0xff, 0xff, 0xff, 0xff, 1, 0]),
            "torn" => {
                let bytes = encode(&Message::Hello(hello()));
                self.send(&bytes[..bytes.len() / 2]);
                self.link.shutdown(std::net::Shutdown::Both).unwrap();
            }
            "trailing" => self.send(&with_trailing_byte(&Message::Hello(hello()))),
            "drip" => self.drip(&encode(&Message::Hello(hello()))),
            "wrong-pid" => self.say(&Message::Hello(Hello { pid: std::process::id() + 1, ..hello() })),
            "wrong-role" => self.say(&Message::Hello(Hello { role: Role::Incumbent, ..hello() })),
            "too-old" => self.say(&Message::Hello(Hello { proto_min: 0, proto_max: 0, ..hello() })),
            "too-new" => self.say(&Message::Hello(Hello { proto_min: 900, proto_max: 901, ..hello() })),
            _ => {
                let id = self.join();
                self.misbehave_in(id, misdeed);
            }
        }
    }

    /// The misdeeds of one that has become part of the handoff.
    fn misbehave_in(&mut self, handoff_id: HandoffId, misdeed: &str) {
        let other = HandoffId([7; 16]);
        match misdeed {
            "silent" => {}
            "flood" => self.flood(),
            "garbage-later" => self.send(&[0x5a; 4096]),
            "other-handoff" => self.say(&Message::Warmed { handoff_id: other }),
            "incumbents-word" => {
                self.say(&Message::Drained { handoff_id, open_conns_remaining: 0, accept_closed: true })
            }
            "ready-unasked" => self.say_and_beat(&ready(handoff_id)),
            "serving-unasked" => self.say_and_beat(&Message::Serving { handoff_id }),
            // It says that it is ready without having taken the lock.
            "ready-without-lock" => {
                self.say(&Message::Warmed { handoff_id });
                self.await_message(MessageName::Begin);
                self.say_and_beat(&ready(handoff_id));
            }
            "unhealthy" => {
                self.say(&Message::Warmed { handoff_id });
                self.await_message(MessageName::Begin);
                let unhealthy = Message::Ready {
                    handoff_id,
                    listening_on: Vec::new(),
                    healthz_ok: false,
                    advertised_revision_per_shard: vec![u64::MAX],
                };
                self.say_and_beat(&unhealthy);
            }
            "silent-after-begin" => {
                self.say(&Message::Warmed { handoff_id });
                self.await_message(MessageName::Begin);
            }
            other => panic!("nobody knows the misdeed {other:?}"),
        }
    }

    /// Says hello as it should be; the handoff that it is made part of.
    fn join(&mut self) -> HandoffId {
        self.say(&Message::Hello(hello()));
        match self.await_message(MessageName::HelloAck) {
            Message::HelloAck(ack) => ack.handoff_id,
            other => panic!("{other:?}"),
        }
    }

    fn await_message(&mut self, name: MessageName) -> Message {
        loop {
            while let Some(message) = self.decoder.next().unwrap() {
                if message.name() == name {
                    return message;
                }
            }
            let mut bytes = [0; 4096];
            let count = self.link.read(&mut bytes).unwrap();
            assert!(count > 0, "the supervisor closed the link before {name}");
            self.decoder.push(&bytes[..count]);
        }
    }

    /// Says it again and again, as heartbeats do.
    fn say_and_beat(&mut self, message: &Message) {
        while frame::encode(PROTO_MAX, message).is_ok_and(|bytes| self.link.write_all(&bytes).is_ok()) {
            sleep(Duration::from_millis(20));
        }
    }

    /// Says that it lives, without end and as fast as it can.
    fn flood(&mut self) {
        let beat = Message::Heartbeat { standing: Standing::Warming, repeats: None };
        let beats = encode(&beat).repeat(1000);
        while self.link.write_all(&beats).is_ok() {}
    }

    fn say(&mut self, message: &Message) {
        self.send(&encode(message));
    }

    fn send(&mut self, bytes: &[u8]) {
        // The supervisor may have had enough by then.
        let _ = self.link.write_all(bytes);
    }

    fn drip(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().cycle() {
            self.send(&[*byte]);
            sleep(Duration::from_millis(500));
        }
    }
}

fn encode(message: &Message) -> Vec<u8> {
    frame::encode(PROTO_MAX, message).unwrap()
}

/// A frame whose payload is one byte longer than the message in it.
fn with_trailing_byte(message: &Message) -> Vec<u8> {
    let mut bytes = encode(message);
    bytes.push(0);
    let length = u32::try_from(bytes.len() - frame::HEADER).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn hello() -> Hello {
    Hello {
        role: Role::Successor,
        pid: std::process::id(),
        start_time: start_time(),
        build_id: b"rogue".to_vec(),
        proto_min: PROTO_MIN,
        proto_max: PROTO_MAX,
        capabilities: Capabilities::default(),
    }
}

/// Field 22 of `proc_pid_stat(5)`.
fn start_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

fn ready(handoff_id: HandoffId) -> Message {
    Message::Ready {
        handoff_id,
        listening_on: Vec::new(),
        healthz_ok: true,
        advertised_revision_per_shard: vec![u64::MAX],
    }
}
