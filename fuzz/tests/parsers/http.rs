//! The heads of HTTP requests.
use bolero::check;
use handoff_kv::head::{Head, HeadError, MAX_HEAD_BYTES, parse_head};

use crate::{Hostile, INPUTS, Seeds, pieces, within};

fn decide(pieces: &[&[u8]]) -> Result<Option<Head>, HeadError> {
    let mut come = Vec::new();
    for piece in pieces {
        come.extend_from_slice(piece);
        match parse_head(&come) {
            Ok(None) => {}
            decided => return decided,
        }
    }
    Ok(None)
}

fn holds(bytes: &[u8], splits: &[u16]) {
    let whole = within(4 * MAX_HEAD_BYTES, || parse_head(bytes));
    assert_eq!(decide(&pieces(bytes, splits)), whole);
    match whole {
        Ok(None) => assert!(bytes.len() < MAX_HEAD_BYTES, "more is waited for beyond the bound"),
        Ok(Some(head)) => {
            assert!((1..=bytes.len().min(MAX_HEAD_BYTES)).contains(&head.bytes), "{head:?}");
            assert_eq!(parse_head(&bytes[..head.bytes]), Ok(Some(head)), "what follows does not matter");
        }
        Err(_) => {}
    }
}

#[test]
fn http_heads() {
    let seeds = Seeds::of("http");
    seeds.iter().for_each(|seed| assert!(matches!(parse_head(seed), Ok(Some(_))), "{}", seed.escape_ascii()));
    check!()
        .with_type::<Hostile>()
        .with_iterations(INPUTS)
        .for_each(|hostile| holds(&hostile.from(&seeds), &hostile.splits));
}

#[test]
fn http_encoded() {
    check!().with_type::<(u8, Vec<u8>, bool)>().with_iterations(INPUTS).for_each(|(method, path, close)| {
        let method = ["GET", "HEAD", "POST", "DELETE"][usize::from(method % 4)];
        let path: String = path.iter().map(|byte| char::from(b'!' + byte % 90)).collect();
        let connection = if *close { "Connection: close\r\n" } else { "" };
        let text = format!("{method} /{path} HTTP/1.1\r\nHost: here\r\n{connection}\r\n");
        let head =
            Head { bytes: text.len(), method: method.into(), path: format!("/{path}"), keep_alive: !close };
        assert_eq!(parse_head(text.as_bytes()), Ok(Some(head)), "{text}");
    });
}
