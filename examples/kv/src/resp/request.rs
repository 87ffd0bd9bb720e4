//! The messages of a client.
use super::{Cursor, MAX_ARGS, MAX_BULK_BYTES, MAX_INLINE_BYTES, MAX_REQUEST_BYTES, ProtocolError, line};

/// One request. No arguments at all is a request to ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The command and its arguments.
    pub args: Vec<&'a [u8]>,
    /// The number of bytes of the input that it took.
    pub used: usize,
}

/// Takes one request off the front of `input`; `None` if there isn't a whole one yet.
///
/// # Errors
/// The bytes are no request, or one beyond its bounds.
pub fn parse_request(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    match input.first() {
        None => Ok(None),
        Some(b'*') => parse_array(input),
        Some(_) => parse_inline(input),
    }
}

fn parse_array(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    let mut cursor = Cursor { input, at: 1 };
    let Some(count) = cursor.number(ProtocolError::ArgCount)? else { return Ok(None) };
    let count = usize::try_from(count.max(0)).map_err(|_| ProtocolError::ArgCount)?;
    if count > MAX_ARGS {
        return Err(ProtocolError::ArgCount);
    }
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        match cursor.peek() {
            None => return Ok(None),
            Some(b'$') => cursor.at += 1,
            Some(_) => return Err(ProtocolError::ExpectedBulk),
        }
        let Some(len) = cursor.number(ProtocolError::BulkLength)? else { return Ok(None) };
        let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
        if len > MAX_BULK_BYTES {
            return Err(ProtocolError::BulkLength);
        }
        if cursor.at + len > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooBig);
        }
        let Some(arg) = cursor.bulk(len)? else { return Ok(None) };
        args.push(arg);
    }
    Ok(Some(Request { args, used: cursor.at }))
}

/// An inline request: words on a line, for people with `telnet`. No quotes.
fn parse_inline(input: &[u8]) -> Result<Option<Request<'_>>, ProtocolError> {
    let window = &input[..input.len().min(MAX_INLINE_BYTES)];
    let Some(end) = window.iter().position(|&b| b == b'\n') else {
        return if window.len() == MAX_INLINE_BYTES { Err(ProtocolError::TooBig) } else { Ok(None) };
    };
    let args: Vec<_> = window[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if args.len() > MAX_ARGS {
        return Err(ProtocolError::ArgCount);
    }
    Ok(Some(Request { args, used: end + 1 }))
}

/// Appends a request's bytes: what a client sends.
pub fn encode_request(args: &[&[u8]], out: &mut Vec<u8>) {
    line(out, '*', args.len());
    for arg in args {
        line(out, '$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_request(args, &mut out);
        out
    }

    #[test]
    fn a_request_is_whole_or_not_there_however_it_was_split() {
        let mut input = bytes(&[b"SET", b"key", b"a\r\n$0\r\nb", b""]);
        let whole = input.len();
        for end in 0..whole {
            assert_eq!(parse_request(&input[..end]), Ok(None), "after {end} bytes");
        }
        input.extend_from_slice(b"*1\r\n");
        let request = parse_request(&input).unwrap().unwrap();
        assert_eq!(request.used, whole);
        assert_eq!(request.args, [&b"SET"[..], b"key", b"a\r\n$0\r\nb", b""]);
    }

    #[test]
    fn an_inline_request_is_words_on_a_line() {
        let input = b"  set  k v\r\nPING\n\r\n";
        for end in 0..12 {
            assert_eq!(parse_request(&input[..end]), Ok(None), "after {end} bytes");
        }
        let first = parse_request(input).unwrap().unwrap();
        assert_eq!((first.args, first.used), (vec![&b"set"[..], b"k", b"v"], 12));
        let second = parse_request(&input[12..]).unwrap().unwrap();
        assert_eq!((second.args, second.used), (vec![&b"PING"[..]], 5));
        let third = parse_request(&input[17..]).unwrap().unwrap();
        assert_eq!((third.args, third.used), (vec![], 2));
    }

    #[test]
    fn a_request_without_arguments_is_one_to_ignore() {
        for input in [&b"*0\r\n"[..], b"*-1\r\n"] {
            let request = parse_request(input).unwrap().unwrap();
            assert_eq!((request.args, request.used), (vec![], input.len()));
        }
    }

    #[test]
    fn a_size_beyond_its_bound_is_refused_before_its_bytes_have_come() {
        let args = format!("*{}\r\n", MAX_ARGS + 1);
        assert_eq!(parse_request(args.as_bytes()), Err(ProtocolError::ArgCount));
        let bulk = format!("*1\r\n${}\r\n", MAX_BULK_BYTES + 1);
        assert_eq!(parse_request(bulk.as_bytes()), Err(ProtocolError::BulkLength));
        let fits = format!("*1\r\n${MAX_BULK_BYTES}\r\n");
        assert_eq!(parse_request(fits.as_bytes()), Ok(None));
        assert_eq!(parse_request(&vec![b'a'; MAX_INLINE_BYTES]), Err(ProtocolError::TooBig));
        assert_eq!(parse_request(&vec![b'a'; MAX_INLINE_BYTES - 1]), Ok(None));
        let mut many = format!("*{MAX_ARGS}\r\n").into_bytes();
        while many.len() <= MAX_REQUEST_BYTES - MAX_BULK_BYTES {
            many.extend(format!("${MAX_BULK_BYTES}\r\n").bytes());
            many.extend(std::iter::repeat_n(b'x', MAX_BULK_BYTES).chain(*b"\r\n"));
        }
        assert_eq!(parse_request(&many), Ok(None));
        many.extend(format!("${MAX_BULK_BYTES}\r\n").bytes());
        assert_eq!(parse_request(&many), Err(ProtocolError::TooBig));
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        for (input, error) in [
            (&b"*x\r\n"[..], ProtocolError::ArgCount),
            (b"*+1\r\n", ProtocolError::ArgCount),
            (b"*01\r\n", ProtocolError::ArgCount),
            (b"*1\r\n$-0\r\n", ProtocolError::BulkLength),
            (b"*99999999999999999999999999", ProtocolError::ArgCount),
            (b"*1\n", ProtocolError::LineEnd),
            (b"*1\r\n:1\r\n", ProtocolError::ExpectedBulk),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$1\r\nabc", ProtocolError::LineEnd),
        ] {
            assert_eq!(parse_request(input), Err(error), "{}", input.escape_ascii());
        }
    }
}
