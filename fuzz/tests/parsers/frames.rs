//! Frames, and the messages in them.
use bolero::check;
use handoff::bounds;
use handoff::codec;
use handoff::frame::{Decoder, FrameError, HEADER, MAX_PAYLOAD, encode};
use handoff::message::Message;

use crate::{Hostile, INPUTS, Seeds, pieces, within};

/// The messages until there are no more, or until an error.
fn decode(pieces: &[&[u8]]) -> (Vec<Message>, Option<FrameError>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, decoder.finish().err())
}

/// Returns whether a text was made plain, or it or the name of a build was cut, as the message entered.
fn was_bounded(message: &Message) -> bool {
    let shown = format!("{message:?}");
    let build = match message {
        Message::Hello(hello) => hello.build_id.len(),
        _ => 0,
    };
    shown.contains("\\\\")
        || shown.contains("bytes more)")
        || build == bounds::BUILD_ID
        || shown.contains("Heartbeat")
}

fn holds(bytes: &[u8], splits: &[u16]) {
    let whole = within(16 * bytes.len() + 3 * MAX_PAYLOAD, || decode(&[bytes]));
    assert_eq!(decode(&pieces(bytes, splits)), whole);
    let mut at = 0;
    for message in &whole.0 {
        let version = u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]);
        let length = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let came = &bytes[at..at + HEADER + length as usize];
        let frame = encode(version, message).unwrap();
        assert!(frame == came || was_bounded(message), "{message:?}");
        assert_eq!(codec::decode::<Message>(&frame[HEADER..]).as_ref(), Ok(message));
        at += came.len();
    }
}

#[test]
fn frames() {
    let seeds = Seeds::of("frames");
    seeds.iter().for_each(|seed| {
        let (messages, error) = decode(&[seed]);
        assert!(!messages.is_empty() && error.is_none(), "{error:?}");
        holds(seed, &[1, 3, 7, 20]);
    });
    check!()
        .with_type::<Hostile>()
        .with_iterations(INPUTS)
        .for_each(|hostile| holds(&hostile.from(&seeds), &hostile.splits));
}
