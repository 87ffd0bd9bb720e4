//! A RESP connection's requests, in order. Consecutive writes of a batch are one job of the writer, so that a
//! pipeline of writes costs one sync, not one each.
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use handoff::daemon::Remaining;

use crate::command::{RequestPlan, Write, plan};
use crate::connection::{AfterBatch, Conversation};
use crate::engine::Engine;
use crate::handshake::ClientState;
use crate::out::ReplyBuffer;
use crate::resp::{Reply, parse_request};

pub(crate) struct RespSession {
    engine: Arc<Engine>,
    peer: ClientState,
}

impl RespSession {
    pub(crate) fn new(engine: Arc<Engine>) -> RespSession {
        engine.clients.fetch_add(1, Relaxed);
        let peer = ClientState::new(engine.next_client_id());
        RespSession { engine, peer }
    }

    /// Does what one request asks for; writes are only gathered.
    fn request(
        &mut self,
        args: &[&[u8]],
        writes: &mut Vec<Write>,
        out: &mut ReplyBuffer<'_>,
    ) -> io::Result<AfterBatch> {
        let plan = plan(args);
        if !matches!(plan, RequestPlan::Write(_)) && self.commit(writes, out)? == AfterBatch::Close {
            return Ok(AfterBatch::Close);
        }
        let (reply, next) = match plan {
            RequestPlan::Write(write) => {
                writes.push(write);
                return Ok(AfterBatch::Continue);
            }
            RequestPlan::Answer(reply) => (reply, AfterBatch::Continue),
            RequestPlan::Quit(reply) => (reply, AfterBatch::Close),
            RequestPlan::Info => (Reply::Text(self.engine.info()), AfterBatch::Continue),
            RequestPlan::Introduce(introduction) => (self.peer.meet(introduction), AfterBatch::Continue),
            RequestPlan::Read(read) => match self.engine.read(&read) {
                Some(reply) => (reply, AfterBatch::Continue),
                None => return Ok(AfterBatch::Close),
            },
        };
        self.answer(&reply, out)?;
        Ok(next)
    }

    /// Executes `writes` and empties it. Where the database has been closed nothing is executed, and the end of
    /// the stream instead of a reply says so.
    fn commit(&self, writes: &mut Vec<Write>, out: &mut ReplyBuffer<'_>) -> io::Result<AfterBatch> {
        if writes.is_empty() {
            return Ok(AfterBatch::Continue);
        }
        let Some(replies) = self.engine.write(std::mem::take(writes)) else { return Ok(AfterBatch::Close) };
        replies.iter().try_for_each(|reply| self.answer(reply, out))?;
        Ok(AfterBatch::Continue)
    }

    fn answer(&self, reply: &Reply, out: &mut ReplyBuffer<'_>) -> io::Result<()> {
        out.push(|bytes| reply.encode(self.peer.version(), bytes))
    }
}

impl Conversation for RespSession {
    fn serve(&mut self, input: &[u8], out: &mut ReplyBuffer<'_>) -> io::Result<(usize, AfterBatch)> {
        let is_last = out.remaining() == Remaining::This;
        let mut used = 0;
        let mut writes = Vec::new();
        loop {
            match parse_request(&input[used..]) {
                Ok(None) => return Ok((used, self.commit(&mut writes, out)?)),
                Ok(Some(request)) => {
                    used += request.used;
                    if request.args.is_empty() {
                        continue;
                    }
                    self.engine.count_request();
                    if self.request(&request.args, &mut writes, out)? == AfterBatch::Close {
                        return Ok((used, AfterBatch::Close));
                    }
                    if is_last {
                        self.commit(&mut writes, out)?;
                        return Ok((used, AfterBatch::Close));
                    }
                }
                Err(error) => {
                    if self.commit(&mut writes, out)? == AfterBatch::Continue {
                        self.answer(&Reply::error(error), out)?;
                    }
                    return Ok((used, AfterBatch::Close));
                }
            }
        }
    }
}

impl Drop for RespSession {
    fn drop(&mut self) {
        self.engine.clients.fetch_sub(1, Relaxed);
    }
}
