//! RESP: requests and replies.
use bolero::check;
use handoff_kv::resp::{
    MAX_ARGS, MAX_INLINE_BYTES, ProtocolError, Reply, RespVersion, encode_request, parse_reply, parse_request,
};

use crate::{Hostile, INPUTS, Seeds, pieces, within};

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// The requests in `pieces`, as a server takes them; `input` keeps what is left.
fn take(pieces: &[&[u8]], input: &mut Vec<u8>) -> Requests {
    let mut requests = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match parse_request(input) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    let used = request.used;
                    requests.push(request.args.iter().map(|arg| arg.to_vec()).collect());
                    input.drain(..used);
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn requests_hold(bytes: &[u8], splits: &[u16]) {
    let (mut left, mut left_in_pieces) = (Vec::new(), Vec::new());
    let whole = take(&[bytes], &mut left);
    let in_pieces = take(&pieces(bytes, splits), &mut left_in_pieces);
    assert_eq!(in_pieces, whole);
    // After an error the bytes that had not come yet are missing.
    assert!(whole.1.is_some() || left == left_in_pieces);
    let mut at = 0;
    // The arguments lie in the input: what is kept beside it is where they are.
    let limit =
        |first| 2 * size_of::<&[u8]>() * if first == Some(&b'*') { MAX_ARGS } else { MAX_INLINE_BYTES };
    while let Ok(Some(request)) = within(limit(bytes.get(at)), || parse_request(&bytes[at..])) {
        let taken = &bytes[at..at + request.used];
        at += request.used;
        let mut again = Vec::new();
        encode_request(&request.args, &mut again);
        if taken[0] == b'*' && !request.args.is_empty() {
            assert_eq!(again.escape_ascii().to_string(), taken.escape_ascii().to_string());
        }
        let parsed = parse_request(&again).unwrap().unwrap();
        assert_eq!((parsed.args, parsed.used), (request.args, again.len()));
    }
}

fn replies_hold(bytes: &[u8], splits: &[u16]) {
    // A byte that is no UTF-8 is shown as three.
    let whole = within(8 * bytes.len() + 1024, || parse_reply(bytes));
    let mut come = Vec::new();
    for piece in pieces(bytes, splits) {
        come.extend_from_slice(piece);
        match parse_reply(&come) {
            Ok(None) => {}
            decided => {
                assert_eq!(decided, whole);
                break;
            }
        }
    }
    let Ok(Some((reply, used))) = whole else { return };
    // A line that is no UTF-8 is shown as well as it can be, and is not what came.
    if matches!(reply, Reply::Bulk(_)) || std::str::from_utf8(&bytes[..used]).is_ok() {
        let mut again = Vec::new();
        reply.encode(RespVersion::Two, &mut again);
        assert_eq!(again.escape_ascii().to_string(), bytes[..used].escape_ascii().to_string());
        assert_eq!(parse_reply(&again), Ok(Some((reply, used))));
    }
}

#[test]
fn resp_requests() {
    let seeds = Seeds::of("resp-requests");
    for seed in seeds.iter() {
        let mut left = Vec::new();
        let (requests, error) = take(&[seed], &mut left);
        assert!(!requests.is_empty() && error.is_none() && left.is_empty(), "{error:?}");
    }
    check!()
        .with_type::<Hostile>()
        .with_iterations(INPUTS)
        .for_each(|hostile| requests_hold(&hostile.from(&seeds), &hostile.splits));
}

#[test]
fn resp_replies() {
    let seeds = Seeds::of("resp-replies");
    seeds
        .iter()
        .for_each(|seed| assert!(matches!(parse_reply(seed), Ok(Some(_))), "{}", seed.escape_ascii()));
    check!()
        .with_type::<Hostile>()
        .with_iterations(INPUTS)
        .for_each(|hostile| replies_hold(&hostile.from(&seeds), &hostile.splits));
}

#[test]
fn resp_encoded() {
    check!().with_type::<(Vec<Vec<u8>>, i64)>().with_iterations(INPUTS).for_each(|(args, number)| {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        encode_request(&args, &mut out);
        assert_eq!(parse_request(&out).unwrap().unwrap().args, args);
        for reply in
            args.iter().map(|arg| Reply::Bulk(arg.to_vec())).chain([Reply::Integer(*number), Reply::Nil])
        {
            let mut out = Vec::new();
            reply.encode(RespVersion::Two, &mut out);
            assert_eq!(parse_reply(&out), Ok(Some((reply, out.len()))));
        }
    });
}
