//! A RESP connection's requests, in order. Consecutive writes of a batch are one job of the writer, so that a
//! pipeline of writes costs one sync, not one each.
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use handoff::daemon::Remaining;

use crate::command::{Plan, Write, plan};
use crate::connection::{Next, Session};
use crate::engine::Engine;
use crate::handshake::Peer;
use crate::out::Out;
use crate::resp::{Reply, parse_request};

pub(crate) struct RespSession {
    engine: Arc<Engine>,
    peer: Peer,
}

impl RespSession {
    pub(crate) fn new(engine: Arc<Engine>) -> RespSession {
        engine.clients.fetch_add(1, Relaxed);
        let peer = Peer::new(engine.next_client_id());
        RespSession { engine, peer }
    }

    /// Does what one request asks for; writes are only gathered.
    fn request(&mut self, args: &[&[u8]], writes: &mut Vec<Write>, out: &mut Out<'_>) -> io::Result<Next> {
        let plan = plan(args);
        if !matches!(plan, Plan::Write(_)) && self.commit(writes, out)? == Next::Close {
            return Ok(Next::Close);
        }
        let (reply, next) = match plan {
            Plan::Write(write) => {
                writes.push(write);
                return Ok(Next::Continue);
            }
            Plan::Answer(reply) => (reply, Next::Continue),
            Plan::Quit(reply) => (reply, Next::Close),
            Plan::Info => (Reply::Text(self.engine.info()), Next::Continue),
            Plan::Introduce(introduction) => (self.peer.meet(introduction), Next::Continue),
            Plan::Read(read) => match self.engine.read(&read) {
                Some(reply) => (reply, Next::Continue),
                None => return Ok(Next::Close),
            },
        };
        self.answer(&reply, out)?;
        Ok(next)
    }

    /// Executes `writes` and empties it. Where the database has been closed nothing is executed, and the end of
    /// the stream instead of a reply says so.
    fn commit(&self, writes: &mut Vec<Write>, out: &mut Out<'_>) -> io::Result<Next> {
        if writes.is_empty() {
            return Ok(Next::Continue);
        }
        let Some(replies) = self.engine.write(std::mem::take(writes)) else { return Ok(Next::Close) };
        replies.iter().try_for_each(|reply| self.answer(reply, out))?;
        Ok(Next::Continue)
    }

    fn answer(&self, reply: &Reply, out: &mut Out<'_>) -> io::Result<()> {
        out.push(|bytes| reply.encode(self.peer.version(), bytes))
    }
}

impl Session for RespSession {
    fn serve(&mut self, input: &[u8], out: &mut Out<'_>) -> io::Result<(usize, Next)> {
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
                    if self.request(&request.args, &mut writes, out)? == Next::Close {
                        return Ok((used, Next::Close));
                    }
                    if is_last {
                        self.commit(&mut writes, out)?;
                        return Ok((used, Next::Close));
                    }
                }
                Err(error) => {
                    if self.commit(&mut writes, out)? == Next::Continue {
                        self.answer(&Reply::error(error), out)?;
                    }
                    return Ok((used, Next::Close));
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
