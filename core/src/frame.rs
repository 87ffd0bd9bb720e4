//! Frames: how messages lie on a byte stream.
//!
//! A frame is the payload's length (`u32`, little endian), the version of the protocol that the payload is
//! written in (`u16`), and the payload ([`crate::codec`]). `Hello` is laid out the same in every version and is
//! therefore read whatever its frame's version; that is how two versions can say that they don't match.
use alloc::{string::String, vec::Vec};

use crate::{
    codec::{self, DecodeError, EncodeError},
    message::{Message, PROTO_MAX, PROTO_MIN, ProtoVersion},
};

/// The length of what comes before the payload.
pub const HEADER: usize = 6;
/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = codec::LIMIT;

/// Bytes that are no frame of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header announces more than [`MAX_PAYLOAD`].
    #[error("a frame of {length} bytes, at most {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// The length that was announced, in bytes.
        length: usize,
    },
    /// The payload is in a version that this build does not speak.
    #[error("a frame of protocol version {version}, {PROTO_MIN} to {PROTO_MAX} are spoken here")]
    UnknownVersion {
        /// The frame's version.
        version: ProtoVersion,
    },
    /// The payload is no message.
    #[error("not a message: {0}")]
    Malformed(#[from] DecodeError),
    /// The stream ended inside a frame.
    #[error("the link ended {missing} bytes before the end of a frame")]
    Torn {
        /// The number of bytes that were still to come, of the header or of the payload.
        missing: usize,
    },
}

/// The frame that carries `message`.
///
/// # Errors
/// The message is longer than [`MAX_PAYLOAD`].
pub fn encode(version: ProtoVersion, message: &Message) -> Result<Vec<u8>, EncodeError> {
    let payload = codec::encode(message)?;
    let length = u32::try_from(payload.len()).map_err(|_| EncodeError::TooLong { length: payload.len() })?;
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Puts frames together from bytes, however they were split.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes what came over the stream. Call [`Decoder::next`] until it has no more before the next call, so that
    /// what is buffered stays within one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// What came is no frame; the link is of no use any more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>, FrameError> {
        let Some((length, version)) = self.header()? else { return Ok(None) };
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        if !(PROTO_MIN..=PROTO_MAX).contains(&version) && !is_hello(payload) {
            return Err(FrameError::UnknownVersion { version });
        }
        let message = codec::decode(payload)?;
        self.buffer.drain(..HEADER + length);
        Ok(Some(message))
    }

    /// Returns what an end of the stream means now.
    ///
    /// # Errors
    /// It ends inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(FrameError::Torn { missing: self.missing()? })
    }

    /// Returns how many bytes are still to come, of the header or of the payload.
    pub(crate) fn missing(&self) -> Result<usize, FrameError> {
        let whole = match self.header()? {
            Some((length, _)) => HEADER + length,
            None => HEADER,
        };
        Ok(whole.saturating_sub(self.buffer.len()))
    }

    fn header(&self) -> Result<Option<(usize, ProtoVersion)>, FrameError> {
        let Some(&[a, b, c, d, e, f]) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length });
        }
        Ok(Some((length, ProtoVersion::from_le_bytes([e, f]))))
    }
}

/// Returns whether `payload` is that of a `Hello`, which is the first of the messages, in every version.
fn is_hello(payload: &[u8]) -> bool {
    payload.starts_with(&0_u32.to_le_bytes())
}

/// Returns why a link is at its end, in words.
pub fn why_closed(result: Result<(), FrameError>) -> String {
    match result {
        Ok(()) => "end of file".into(),
        Err(error) => alloc::format!("{error}"),
    }
}
