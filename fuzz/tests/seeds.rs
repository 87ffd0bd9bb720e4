//! Writes the seeds that are values: `cargo test -p handoff-fuzz --test seeds -- --ignored`. The others were written by
//! hand. A change of a format is a reason to run it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, its helpers included")]
use std::path::Path;

use handoff::carry::{Carried, ConnectionState, Incoming, Item, Taken};
use handoff::data::Data;
use handoff::id::{BootId, DirectoryId, InBoot};
use handoff::journal::{Binary, FileIdentity, Journal, Running, UnderWay};
use handoff::message::*;
use handoff::record::Record;
use handoff::{Fingerprint, HandoffId, ProcessId, codec, frame};
use serde::Serialize;

const ID: HandoffId = HandoffId(*b"0123456789abcdef");
const PROCESS: ProcessId = ProcessId { pid: 4711, start_time: 8_000_000 };
const BOOT: BootId = BootId([1; 16]);

fn write(target: &str, name: &str, bytes: Vec<u8>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(name), bytes).unwrap();
}

/// Writes what is kept in a slot of a file.
fn write_kept<T: Serialize>(target: &str, name: &str, value: T) {
    write(target, name, codec::encode(&InBoot { boot: BOOT, value }).unwrap());
}

fn messages() -> Vec<Message> {
    let sealed = Sealed {
        generation: 7,
        last_revision_per_shard: vec![1, u64::MAX],
        data_dir_fingerprint: Fingerprint { scheme: 1, digest: [0xab; 32] },
    };
    let hello = Hello {
        role: Role::Successor,
        pid: PROCESS.pid,
        start_time: PROCESS.start_time,
        build_id: b"1.2.3".to_vec(),
        proto_min: 1,
        proto_max: 2,
        capabilities: Capabilities(5),
    };
    let awaits_final = Some(AwaitsFinal { handoff_id: ID, predecessor: Some(PROCESS) });
    let complete = Message::SealComplete { handoff_id: ID, sealed: sealed.clone() };
    vec![
        Message::Hello(hello),
        Message::PrepareHandoff {
            handoff_id: ID,
            successor: PROCESS,
            deadline_ms: 300_000,
            drain_grace_ms: 60_000,
        },
        Message::SealFailed { handoff_id: ID, error: "no room".into(), partial_state: "1 of 2".into() },
        Message::Begin { handoff_id: ID, sealed: Some(sealed) },
        Message::Ready {
            handoff_id: ID,
            listening_on: vec!["resp".into(), "http".into()],
            healthz_ok: true,
            advertised_revision_per_shard: vec![1, 2, 3],
        },
        Message::Heartbeat { standing: Standing::Sealed, repeats: Some(Box::new(complete)) },
        Message::StandingReport { standing: Standing::Serving, awaits_final },
        Message::Listeners { names: vec!["resp".into(), "http".into()], more: true },
        Message::Busy,
        Message::Connections,
    ]
}

/// Returns what an incumbent sends, from an offer to the end.
fn items(state: Option<Vec<u8>>) -> Vec<u8> {
    let mut items = vec![Item::Offer((1..=5).collect()), Item::Ended(vec![2])];
    items.extend(state.map(|part| Item::State { token: 1, part, more: false }));
    items.push(Item::AllStates);
    let mut incoming = Incoming::default();
    for item in &items {
        incoming.take(item.clone(), if let Item::Offer(tokens) = item { tokens.len() } else { 0 }).unwrap();
    }
    let Ok(Taken::Answer(Item::Has(carried))) = incoming.take(Item::End(Carried::default()), 0) else {
        panic!("no answer to an end")
    };
    items.push(Item::End(carried));
    items.iter().flat_map(|item| item.encode().unwrap()).collect()
}

fn state() -> ConnectionState {
    ConnectionState {
        input: b"*1\r\n$4".to_vec(),
        awaits_more: true,
        output: b"+OK\r\n".to_vec(),
        session: b"\x01name".to_vec(),
    }
}

fn journal() -> Journal {
    let identity = FileIdentity { dev: 1, ino: 2, size: 3, changed_secs: 4, changed_nanos: 5 };
    let binary = |name: &str| Binary {
        handoff_id: ID,
        path: name.into(),
        args: vec![b"--data".to_vec(), b"/var/lib/d".to_vec()],
        working_dir: Some(b"/".to_vec()),
        identity: Some(identity),
    };
    Journal {
        running: Some(Running { process: PROCESS, build_id: b"1.2.3".to_vec(), is_committed: true }),
        committed: Some(binary("/usr/bin/d")),
        previous: Some(binary("/usr/bin/d-old")),
        under_way: Some(UnderWay {
            handoff_id: ID,
            incumbent: Some(PROCESS),
            successor: ProcessId { pid: 4712, ..PROCESS },
            binary: binary("/usr/bin/d-next"),
            retiring: false,
        }),
        stopped: false,
        data: Data::opened(BOOT, Some(DirectoryId { dev: 1, ino: 2 }), &[1, 2, 3]),
        written_at_unix_ms: 1_700_000_000_000,
    }
}

#[test]
#[ignore = "writes into the repository"]
fn write_the_seeds() {
    for message in messages() {
        write("frames", message.name().name(), frame::encode(1, &message).unwrap());
    }
    let record = Record {
        generation: 7,
        holder: PROCESS,
        sealed_for: Some(ProcessId { pid: 4712, ..PROCESS }),
        serving: false,
        revisions: vec![1, 2, 3],
        fingerprint: Fingerprint { scheme: 1, digest: [0xab; 32] },
    };
    write_kept("record", "serving", Record { serving: true, sealed_for: None, ..record.clone() });
    write_kept("record", "sealed", record);
    write("states", "all", state().encode());
    write("states", "session", ConnectionState { session: b"\x01".to_vec(), ..Default::default() }.encode());
    write("items", "idle", items(None));
    write("items", "states", items(Some(state().encode())));
    write("items", "revoked", [items(None), Item::Revoked.encode().unwrap()].concat());
    write_kept("journal", "empty", Journal::default());
    write_kept("journal", "full", journal());
}
