//! The things that a daemon's machine stands on.
use super::{Hook, Os, rest::Rest};
use crate::{
    error::HostError,
    host::{Hooks, Sockets, Storage, Transport},
    machine::{ExitReason, LinkId, LockAnswer, Op, incumbent, successor},
    message::Message,
    record::Record,
};

/// The operating system, and what the node keeps of it.
pub(super) type Hands<'a, O> = crate::node::Hands<'a, Rest, O>;

impl<O: Os> Transport<LinkId> for Hands<'_, O> {
    fn send(&mut self, to: LinkId, message: &Message) {
        self.os.send(to, message);
    }

    fn close(&mut self, link: LinkId) {
        self.rest.forget(link);
        self.os.close(link);
    }
}

impl<O: Os> Sockets for Hands<'_, O> {
    fn send_listeners(&mut self, to: LinkId) {
        self.os.send_listeners(to);
    }

    fn receive_connections(&mut self, from: LinkId) {
        self.os.receive_connections(from);
    }
}

impl<O: Os> Storage for Hands<'_, O> {
    fn lock(&mut self, op: Op) -> Option<LockAnswer> {
        self.os.lock(op)
    }

    fn unlock(&mut self) {
        self.os.unlock();
    }

    fn write_record(&mut self, op: Op, record: &Record) -> Option<Result<(), HostError>> {
        self.os.write_record(op, record)
    }

    fn take_path(&mut self, op: Op) -> Option<Result<(), HostError>> {
        self.os.take_path(op)
    }
}

impl<O: Os> Hands<'_, O> {
    fn start(&mut self, op: Op, hook: Hook) {
        self.rest.running += u32::from(op != Op::UNAWAITED);
        self.os.start_hook(op, hook);
    }

    fn leave(&mut self, exit: ExitReason) {
        self.rest.has_left = true;
        self.os.exit(exit);
    }
}

impl<O: Os> Hooks<incumbent::Hook> for Hands<'_, O> {
    fn start_hook(&mut self, op: Op, hook: incumbent::Hook) {
        // No machine waits for the end of this one.
        let op = if hook == incumbent::Hook::Finalize { Op::UNAWAITED } else { op };
        self.start(op, Hook::Incumbent(hook));
    }

    fn exit(&mut self, exit: ExitReason) {
        self.leave(exit);
    }
}

impl<O: Os> Hooks<successor::Hook> for Hands<'_, O> {
    fn start_hook(&mut self, op: Op, hook: successor::Hook) {
        self.start(op, Hook::Successor(hook));
    }

    fn exit(&mut self, exit: ExitReason) {
        self.leave(exit);
    }
}
