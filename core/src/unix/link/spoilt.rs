//! Frames that a test spoils on their way: lost, late, cut, replaced, or the end of their link.
use std::net::Shutdown;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use super::Link;
use crate::frame;
use crate::machine::supervisor::Peer;
use crate::message::{Message, PROTO_MAX};
use crate::unix::control;
use crate::unix::probe::{self, FrameFate, Receiver};

/// The treatment of frames.
#[derive(Debug, Default)]
pub(super) struct Spoilt {
    /// Of the next one.
    next: FrameFate,
    /// Of all, once one was late: the thread that sends them after it.
    late: Option<Sender<Vec<u8>>>,
}

impl Link {
    /// Asks what is to become of `message`, which is sent next, to the process `pid` in `role`; to the one that the system
    /// names, if that is not known.
    pub(crate) fn will_send(&mut self, message: &Message, role: Option<Peer>, pid: Option<u32>) {
        let pid = pid.or_else(|| control::peer(&self.stream).ok()?.pid);
        self.spoilt.next = probe::frame(Receiver { role, pid }, message);
    }

    /// Returns whether `message` is not to be sent as it is; then all is done that is to be.
    pub(super) fn is_spoilt(&mut self, message: &Message) -> bool {
        match std::mem::take(&mut self.spoilt.next) {
            FrameFate::Arrives if self.spoilt.late.is_none() => return false,
            FrameFate::Arrives => self.pass_on(message),
            FrameFate::IsLost => {}
            FrameFate::IsLate(span) => {
                self.delay(span);
                self.pass_on(message);
            }
            FrameFate::IsCut => {
                let bytes = frame::encode(PROTO_MAX, message).unwrap_or_default();
                self.unsent.extend(&bytes[..bytes.len() / 2]);
                self.flush();
                self.end();
            }
            FrameFate::Resets => self.end(),
            FrameFate::Becomes(other) => {
                self.queue(&other);
                self.flush();
            }
        }
        true
    }

    fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// From here on frames are sent by a thread, which begins after `span`.
    fn delay(&mut self, span: Duration) {
        let Ok(mut link) = self.stream.try_clone().map(Link::new) else { return };
        let (sender, frames) = channel::<Vec<u8>>();
        self.spoilt.late = Some(sender);
        thread::spawn(move || {
            thread::sleep(span);
            for bytes in frames {
                link.unsent.extend(bytes);
                link.flush();
            }
        });
    }

    fn pass_on(&self, message: &Message) {
        let bytes = frame::encode(PROTO_MAX, message).unwrap_or_default();
        let _ = self.spoilt.late.as_ref().map(|late| late.send(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HandoffId;
    use crate::unix::link::Read;

    const COMMIT: Message = Message::Commit { handoff_id: HandoffId([1; 16]) };
    const RETIRE: Message = Message::Retire { handoff_id: HandoffId([1; 16]) };

    fn links() -> (Link, Link) {
        let (ours, theirs) = control::socketpair().unwrap();
        (Link::new(ours), Link::new(theirs))
    }

    fn send(link: &mut Link, message: &Message, fate: FrameFate) {
        link.spoilt.next = fate;
        link.send(message);
    }

    #[test]
    fn a_lost_frame_is_missed_by_nobody_and_another_can_come_in_its_place() {
        let (mut from, mut to) = links();
        send(&mut from, &COMMIT, FrameFate::IsLost);
        send(&mut from, &COMMIT, FrameFate::Becomes(Box::new(RETIRE)));
        assert_eq!(to.read(), Read::Message(RETIRE));
        assert_eq!(to.read(), Read::Nothing);
    }

    #[test]
    fn what_is_sent_after_a_late_frame_comes_after_it() {
        let (mut from, mut to) = links();
        send(&mut from, &COMMIT, FrameFate::IsLate(Duration::from_millis(20)));
        send(&mut from, &RETIRE, FrameFate::Arrives);
        assert_eq!(to.read(), Read::Nothing);
        let mut next = || std::iter::repeat_with(|| to.read()).find(|read| *read != Read::Nothing);
        assert_eq!(next(), Some(Read::Message(COMMIT)));
        assert_eq!(next(), Some(Read::Message(RETIRE)));
    }

    #[test]
    fn a_frame_that_is_cut_is_the_end_of_its_link_and_so_is_a_reset() {
        for fate in [FrameFate::IsCut, FrameFate::Resets] {
            let (mut from, mut to) = links();
            send(&mut from, &COMMIT, fate);
            assert!(matches!(to.read(), Read::Closed(_)));
            assert!(matches!(from.read(), Read::Closed(_)));
        }
    }
}
