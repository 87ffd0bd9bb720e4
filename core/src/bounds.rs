//! The bounds of what peers, configurations and daemons' authors choose: each known where it is checked, where it is
//! accepted and where it is kept.
use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest number of listeners of one daemon.
pub const LISTENERS: usize = 512;
/// The longest name of a build, in bytes.
pub const BUILD_ID: usize = 256;
/// The longest text of a peer, in bytes: why something failed.
pub const TEXT: usize = 2048;
/// The longest command, in bytes: the path of a binary and its arguments, each with eight bytes for its length. A
/// journal's slot has room for three.
pub const COMMAND: usize = 20 * 1024;
/// The longest path of a directory that is kept, in bytes.
pub const PATH: usize = 4096;
/// The largest number of shards: the record's slot and the journal's have room for their revisions.
pub const SHARDS: usize = 2000;

/// `text` on one line, in printable characters, and of [`TEXT`] bytes at most: what a peer says is shown to people, on
/// terminals as well.
pub fn peer_text(text: &str) -> String {
    let mut bounded = String::new();
    for (at, character) in text.char_indices() {
        let length = bounded.len();
        if is_plain(character) {
            bounded.push(character);
        } else {
            bounded.extend(character.escape_default());
        }
        if bounded.len() > TEXT {
            bounded.truncate(length);
            return cut(bounded, text.len() - at);
        }
    }
    bounded
}

/// Neither a control character nor one that changes the direction of the text around it.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text`, shortened so that the number of bytes that were `left_out` fits behind it.
fn cut(mut text: String, left_out: usize) -> String {
    let room = TEXT - format!(" … ({} bytes more)", usize::MAX).len();
    let mut left_out = left_out;
    while text.len() > room {
        left_out += text.pop().map_or(0, char::len_utf8);
    }
    text + &format!(" … ({left_out} bytes more)")
}

/// The length of the command that executes `binary` with `args`, in the sense of [`COMMAND`].
pub fn command_length<'a>(binary: &[u8], args: impl IntoIterator<Item = &'a [u8]>) -> usize {
    args.into_iter().map(|arg| arg.len() + 8).sum::<usize>() + binary.len() + 8
}

/// The texts of messages: bounded as they leave and as they enter.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Serialize, Serializer, String, peer_text};

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        peer_text(text).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer).map(|text| peer_text(&text))
    }
}

/// The name of a peer's build: what is longer is cut as it enters, so that what is kept of it has room.
pub(crate) fn deserialize_build_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let mut id = Vec::<u8>::deserialize(deserializer)?;
    id.truncate(BUILD_ID);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Data, DirectoryId},
        frame::{self, Decoder},
        id::{BootId, HandoffId, InBoot, ProcessId},
        journal::{self, Binary, FileIdentity, Journal, Running, UnderWay},
        message::{Capabilities, Hello, Message, PROTO_MAX, Role},
        slots,
    };
    use alloc::vec;

    fn received(message: &Message) -> Message {
        let mut decoder = Decoder::default();
        decoder.push(&frame::encode(PROTO_MAX, message).expect("it fits a frame"));
        decoder.next().expect("it is a frame").expect("it is whole")
    }

    #[test]
    fn a_peers_text_is_short_and_printable() {
        assert_eq!(peer_text("no room: é"), "no room: é");
        assert_eq!(peer_text("\u{1b}[2J\r\n\u{202e}x"), "\\u{1b}[2J\\r\\n\\u{202e}x");
        for text in ["x".repeat(1 << 21), "\u{1b}".repeat(5000), "é".repeat(TEXT)] {
            let bounded = peer_text(&text);
            assert!(bounded.len() <= TEXT && bounded.ends_with("bytes more)"), "{bounded}");
            assert_eq!(peer_text(&bounded), bounded, "once is enough");
        }
    }

    #[test]
    fn a_text_of_two_megabytes_fits_a_frame_and_arrives_shortened() {
        let failed = Message::Failed { handoff_id: HandoffId([1; 16]), error: "\u{7}".repeat(1 << 21) };
        let Message::Failed { error, .. } = received(&failed) else { panic!("another message") };
        assert!(error.starts_with("\\u{7}") && error.len() <= TEXT, "{error}");
    }

    #[test]
    fn what_is_bounded_has_room_where_it_is_kept() {
        let process = ProcessId { pid: 1, start_time: 1 };
        let hello = Hello {
            role: Role::Incumbent,
            pid: 1,
            start_time: 1,
            build_id: vec![b'x'; 100_000],
            proto_min: 1,
            proto_max: 1,
            capabilities: Capabilities::default(),
        };
        let Message::Hello(Hello { build_id, .. }) = received(&Message::Hello(hello)) else {
            panic!("no Hello")
        };
        assert_eq!(build_id.len(), BUILD_ID);
        let handoff_id = HandoffId([1; 16]);
        let binary = Binary {
            handoff_id,
            path: vec![b'/'; COMMAND - 8],
            args: Vec::new(),
            working_dir: Some(vec![b'/'; PATH]),
            identity: Some(FileIdentity { dev: 1, ino: 1, size: 1, changed_secs: 1, changed_nanos: 1 }),
        };
        assert_eq!(command_length(&binary.path, []), COMMAND);
        let many = Binary { path: vec![b'/'; 8], args: vec![Vec::new(); COMMAND / 8 - 2], ..binary.clone() };
        assert_eq!(command_length(&many.path, many.args.iter().map(Vec::as_slice)), COMMAND);
        let under_way = UnderWay {
            handoff_id,
            incumbent: Some(process),
            successor: process,
            binary: many.clone(),
            retiring: true,
        };
        let journal = Journal {
            running: Some(Running { process, build_id, is_committed: true }),
            committed: Some(binary.clone()),
            previous: Some(many),
            under_way: Some(under_way),
            data: Data::opened(BootId::default(), Some(DirectoryId { dev: 1, ino: 1 }), &[1; SHARDS]),
            ..Journal::default()
        };
        let journal = InBoot { boot: BootId::default(), value: journal };
        slots::encode_slot(journal::MAGIC, 1, &journal, journal::SLOT_SIZE).expect("there is room");
        let record = crate::record::Record {
            generation: 1,
            holder: process,
            sealed_for: Some(process),
            serving: true,
            revisions: vec![1; SHARDS],
            fingerprint: Default::default(),
        };
        let record = InBoot { boot: BootId::default(), value: record };
        slots::encode_slot(crate::record::MAGIC, 1, &record, crate::record::SLOT_SIZE)
            .expect("there is room");
    }
}
