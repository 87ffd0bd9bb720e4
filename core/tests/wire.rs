//! The bytes that go over the wire: those of every message, frames however they are split, and bytes that are
//! none.
#![expect(clippy::unwrap_used, reason = "tests, of which the helpers are part")]

use handoff::frame::{Decoder, FrameError, HEADER, MAX_PAYLOAD, encode};
use handoff::message::*;
use handoff::{Fingerprint, HandoffId, ProcessId};

const ID: HandoffId = HandoffId(*b"0123456789abcdef");

fn process() -> ProcessId {
    ProcessId { pid: 0x0102_0304, start_time: 0x1122_3344 }
}

fn sealed() -> Sealed {
    Sealed {
        generation: 7,
        last_revision_per_shard: vec![1, 0xffff_ffff_ffff_ffff],
        data_dir_fingerprint: Fingerprint { scheme: 1, digest: [0xab; 32] },
    }
}

fn hello() -> Hello {
    Hello {
        role: Role::Successor,
        pid: 0x0102_0304,
        start_time: 0x1122_3344,
        build_id: b"1.2.3".to_vec(),
        proto_min: 1,
        proto_max: 2,
        capabilities: Capabilities(5),
    }
}

fn ack() -> HelloAck {
    HelloAck {
        proto_version_chosen: 1,
        handoff_id: ID,
        incumbent: Some(process()),
        liveness_ms: 5_000,
        deadline_ms: 300_000,
        hook_limit_ms: 300_000,
    }
}

/// Returns a message of each kind, in the order of the enum.
fn every_message() -> Vec<Message> {
    let handoff_id = ID;
    let progress = SealProgress { shards_sealed: 1, shards_total: 2, last_revision: 3 };
    vec![
        Message::Hello(hello()),
        Message::HelloAck(ack()),
        Message::Warmed { handoff_id },
        Message::PrepareHandoff { handoff_id, successor: process(), deadline_ms: 1, drain_grace_ms: 2 },
        Message::Drained { handoff_id, open_conns_remaining: 3, accept_closed: true },
        Message::DrainFailed { handoff_id, error: "why".into() },
        Message::SealRequest { handoff_id },
        Message::SealProgress { handoff_id, progress },
        Message::SealComplete { handoff_id, sealed: sealed() },
        Message::SealFailed { handoff_id, error: "why".into(), partial_state: "half".into() },
        Message::Begin { handoff_id, sealed: Some(sealed()) },
        Message::Ready {
            handoff_id,
            listening_on: vec!["resp".into()],
            healthz_ok: true,
            advertised_revision_per_shard: vec![9],
        },
        Message::Failed { handoff_id, error: "why".into() },
        Message::Commit { handoff_id },
        Message::Serving { handoff_id },
        Message::Retire { handoff_id },
        Message::Final { handoff_id },
        Message::Abort { handoff_id, reason: "why".into() },
        Message::ResumeAfterAbort { handoff_id },
        Message::Resumed { handoff_id },
        Message::Busy,
        Message::Heartbeat {
            standing: Standing::Serving,
            repeats: Some(Box::new(Message::Commit { handoff_id })),
        },
        Message::StatusQuery,
        Message::Status(status()),
        Message::Refused { error: "why".into() },
        Message::StandingQuery,
        Message::StandingReport {
            standing: Standing::Serving,
            awaits_final: Some(AwaitsFinal {
                handoff_id,
                predecessor: Some(ProcessId { pid: 7, start_time: 8 }),
            }),
        },
        Message::ListenersQuery,
        Message::Listeners { names: vec!["resp".into()], more: false },
    ]
}

fn status() -> Status {
    let mut status = Status::of(Standing::Leaving);
    (status.shard_count, status.open_conns, status.last_revision_per_shard) = (1, 2, vec![3]);
    status
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All messages that `bytes` hold, handed over in pieces of `size`.
fn decode_in_pieces(bytes: &[u8], size: usize) -> Result<Vec<Message>, FrameError> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.push(piece);
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
    }
    decoder.finish()?;
    Ok(messages)
}

/// A new message must come at the end, and an old one never change: both show here.
#[test]
fn the_bytes_of_every_message_are_pinned() {
    let lines: Vec<String> = every_message()
        .iter()
        .map(|message| format!("{:16} {}", message.name(), hex(&encode(1, message).unwrap())))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_message_survives_any_split_of_its_bytes() {
    let stream: Vec<u8> = every_message().iter().flat_map(|message| encode(1, message).unwrap()).collect();
    for size in 1..stream.len().min(200) {
        assert_eq!(decode_in_pieces(&stream, size).unwrap(), every_message(), "in pieces of {size}");
    }
}

#[test]
fn a_frame_of_an_unknown_version_is_refused_but_a_hello_is_read() {
    let mut decoder = Decoder::default();
    decoder.push(&encode(99, &Message::Hello(hello())).unwrap());
    assert_eq!(decoder.next().unwrap(), Some(Message::Hello(hello())));

    decoder.push(&encode(99, &Message::Busy).unwrap());
    assert_eq!(decoder.next(), Err(FrameError::UnknownVersion { version: 99 }));
}

#[test]
fn a_length_beyond_the_limit_is_refused_by_its_header_alone() {
    let mut header = u32::MAX.to_le_bytes().to_vec();
    header.extend([1, 0]);
    let mut decoder = Decoder::default();
    decoder.push(&header);
    assert_eq!(decoder.next(), Err(FrameError::TooLong { length: u32::MAX as usize }));

    let mut longest = u32::try_from(MAX_PAYLOAD).unwrap().to_le_bytes().to_vec();
    longest.extend([1, 0]);
    let mut decoder = Decoder::default();
    decoder.push(&longest);
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn a_stream_that_ends_inside_a_frame_says_how_much_is_missing() {
    let frame = encode(1, &Message::Busy).unwrap();
    for kept in 1..frame.len() {
        let missing = if kept < HEADER { HEADER - kept } else { frame.len() - kept };
        assert_eq!(decode_in_pieces(&frame[..kept], 3), Err(FrameError::Torn { missing }), "{kept} bytes");
    }
}

#[test]
fn no_cut_and_no_surplus_passes_for_a_message() {
    for message in every_message() {
        let frame = encode(1, &message).unwrap();
        let payload = &frame[HEADER..];
        for length in 0..payload.len() {
            assert!(reframed(&payload[..length]).is_err(), "{} cut to {length}", message.name());
        }
        let surplus = [payload, &[0]].concat();
        assert!(reframed(&surplus).is_err(), "{} and a byte", message.name());
    }
}

/// Returns what a frame with `payload` decodes to.
fn reframed(payload: &[u8]) -> Result<Option<Message>, FrameError> {
    let mut decoder = Decoder::default();
    decoder.push(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    decoder.push(&1_u16.to_le_bytes());
    decoder.push(payload);
    decoder.next()
}

#[test]
fn a_length_inside_a_message_that_promises_gigabytes_costs_nothing() {
    // Refused { error } whose text claims 2^62 bytes.
    let mut payload = 24_u32.to_le_bytes().to_vec();
    payload.extend((1_u64 << 62).to_le_bytes());
    assert!(reframed(&payload).is_err());
}

/// As bytes, since the sender is hostile: each level is the one below, wrapped once more.
#[test]
fn a_heartbeat_of_heartbeats_is_refused_before_it_costs_the_stack() {
    let heartbeat = Message::Heartbeat { standing: Standing::Serving, repeats: None };
    let frame = encode(1, &heartbeat).unwrap();
    let mut payload = frame[HEADER..].to_vec();
    let head = payload[..payload.len() - 1].to_vec();
    for depth in 1..20_000 {
        let mut wrapped = [&head[..], &[1]].concat();
        wrapped.extend(u64::try_from(payload.len()).unwrap().to_le_bytes());
        wrapped.extend(&payload);
        payload = wrapped;
        if depth % 4_999 == 1 {
            assert!(reframed(&payload).is_err(), "{depth} deep");
        }
    }
}

#[test]
fn the_highest_common_version_wins_and_disjoint_ranges_have_none() {
    assert_eq!(negotiate_version(1..=3, 2..=5), Some(3));
    assert_eq!(negotiate_version(1..=5, 3..=4), Some(4));
    assert_eq!(negotiate_version(1..=1, 1..=1), Some(1));
    assert_eq!(negotiate_version(1..=1, 2..=3), None);
    assert_eq!(negotiate_version(4..=5, 2..=3), None);
}
