//! The bounds of what peers, configurations and daemons' authors choose: each known where it is checked, where it is
//! accepted and where it is kept.
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer};

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

/// The length of the command that executes `binary` with `args`, in the sense of [`COMMAND`].
pub fn command_length<'a>(binary: &[u8], args: impl IntoIterator<Item = &'a [u8]>) -> usize {
    args.into_iter().map(|arg| arg.len() + 8).sum::<usize>() + binary.len() + 8
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
        data::Data,
        frame::{self, Decoder},
        id::{BootId, DirectoryId, HandoffId, InBoot, ProcessId},
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
