//! The messages of clients and daemons over a connection with bytes: each request has a number, and so has
//! its reply.

/// A request. Its connection's first one has number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberedRequest {
    pub number: u32,
    pub key: u32,
    /// The value to write; 0 if the value is to be read.
    pub value: u64,
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberedReply {
    /// The number of the request.
    pub number: u32,
    /// The number of requests of this connection that were answered before: what the daemon knows of the
    /// client.
    pub before: u32,
    /// The value that was written or read; none if that has failed.
    pub value: Option<u64>,
}

impl NumberedRequest {
    /// The length in bytes.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        sixteen(self.number, self.key, self.value)
    }

    pub(crate) fn decode(bytes: &[u8; Self::SIZE]) -> NumberedRequest {
        let (number, key, value) = parts(bytes);
        NumberedRequest { number, key, value }
    }
}

impl NumberedReply {
    /// The length in bytes.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        sixteen(self.number, self.before, self.value.unwrap_or(u64::MAX))
    }

    pub(crate) fn decode(bytes: &[u8; Self::SIZE]) -> NumberedReply {
        let (number, before, value) = parts(bytes);
        NumberedReply { number, before, value: (value != u64::MAX).then_some(value) }
    }
}

fn sixteen(a: u32, b: u32, c: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&a.to_le_bytes());
    bytes[4..8].copy_from_slice(&b.to_le_bytes());
    bytes[8..].copy_from_slice(&c.to_le_bytes());
    bytes
}

fn parts(bytes: &[u8; 16]) -> (u32, u32, u64) {
    let all = u128::from_le_bytes(*bytes);
    (all as u32, (all >> 32) as u32, (all >> 64) as u64)
}
