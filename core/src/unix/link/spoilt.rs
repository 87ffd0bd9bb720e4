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

/// What is to become of frames.
#[derive(Debug, Default)]
pub(super) struct Spoilt {
    /// Of the next one.
    next: FrameFate,
    /// Of all, once one was late: whoever sends them after it.
    late: Option<Sender<Vec<u8>>>,
}

impl Link {
    /// Asks what is to become of `message`, which is sent next, to the process `pid` in `role`; to whoever the system says
    /// that it is, if that is not known.
    pub(crate) fn will_send(&mut self, message: &Message, role: Option<Peer>, pid: Option<u32>) {
        let pid = pid.or_else(|| control::peer(&self.stream).ok()?.pid);
        self.spoilt.next = probe::frame(Receiver { role, pid }, message);
    }

    /// Whether `message` is not to be sent as it is; then all is done that is to be.
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
