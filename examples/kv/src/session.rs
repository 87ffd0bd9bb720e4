//! A RESP connection's requests, in order. Consecutive writes of a batch are one job of the writer, so that a
//! pipeline of writes costs one sync, not one each.
use std::io;
use std::sync::Arc;

use handoff::daemon::{Connection, Pusher, Remaining};

use crate::client_state::ClientState;
use crate::command::{JobStep, RequestPlan, plan};
use crate::connection::{AfterBatch, Conversation, serve};
use crate::engine::Engine;
use crate::out::ReplyBuffer;
use crate::resp::{Reply, RespVersion, parse_request};
use crate::subscriptions::Subscriber;
use crate::transaction::{Transaction, step};

/// The number of channels that a client may subscribe to.
const MAX_CHANNELS: usize = 1024;

pub(crate) struct RespSession {
    engine: Arc<Engine>,
    client: ClientState,
    /// `true` if the client's state is not what the connection was told last.
    has_changed: bool,
    pusher: Pusher,
}

impl RespSession {
    /// Serves `client`, which may have been served before, here or by another process.
    pub(crate) fn serve(engine: &Arc<Engine>, client: &mut Connection) -> io::Result<()> {
        let state = ClientState::decode(&client.session());
        let state = state.ok_or_else(|| io::Error::other("a state of no layout that this build knows"))?;
        let mut session = RespSession {
            engine: engine.clone(),
            client: state,
            has_changed: false,
            pusher: client.pusher(),
        };
        let served = serve(client, &mut session);
        if !client.is_kept() {
            session.leave();
        }
        served
    }

    /// Does what one request asks for; writes are only gathered.
    fn request(
        &mut self,
        args: &[&[u8]],
        writes: &mut Vec<JobStep>,
        out: &mut ReplyBuffer<'_>,
    ) -> io::Result<AfterBatch> {
        let plan = plan(args);
        match plan {
            RequestPlan::Write(write) if self.client.transaction.is_none() && !self.is_strict() => {
                writes.push(JobStep::Write(write));
                return Ok(AfterBatch::Continue);
            }
            _ if self.commit(writes, out)? == AfterBatch::Close => return Ok(AfterBatch::Close),
            RequestPlan::Quit(reply) => {
                self.answer(&reply, out)?;
                return Ok(AfterBatch::Close);
            }
            _ => {}
        }
        let reply = match self.refusal(&plan, args) {
            Some(refused) => Some(refused),
            None if self.is_queued(&plan) => self.queue(args, plan),
            None => match plan {
                RequestPlan::Subscribe(channels) => return self.subscribe(channels, out),
                RequestPlan::Unsubscribe(channels) => return self.unsubscribe(channels, out),
                plan => self.reply(plan, out)?,
            },
        };
        match reply {
            Some(reply) => self.answer(&reply, out).map(|()| AfterBatch::Continue),
            None => Ok(AfterBatch::Close),
        }
    }

    /// A subscriber that speaks RESP2 can't tell replies from messages, so it may ask for little.
    fn is_strict(&self) -> bool {
        self.client.version == RespVersion::Two && !self.client.channels.is_empty()
    }

    /// Returns why the client may not ask for this now, if so.
    fn refusal(&self, plan: &RequestPlan, args: &[&[u8]]) -> Option<Reply> {
        let is_fine =
            matches!(plan, RequestPlan::Subscribe(_) | RequestPlan::Unsubscribe(_) | RequestPlan::Ping(_));
        (self.is_strict() && !is_fine).then(|| {
            let name = args.first().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase());
            let shown: String = name.unwrap_or_default().chars().take(128).collect();
            Reply::error(format_args!(
                "Can't execute '{shown}': only SUBSCRIBE / UNSUBSCRIBE / PING / QUIT are allowed in this context"
            ))
        })
    }

    fn is_queued(&self, plan: &RequestPlan) -> bool {
        let ends = matches!(plan, RequestPlan::Multi | RequestPlan::Exec | RequestPlan::Discard);
        self.client.transaction.is_some() && !ends
    }

    fn queue(&mut self, args: &[&[u8]], plan: RequestPlan) -> Option<Reply> {
        self.has_changed = true;
        self.client.transaction.as_mut().map(|transaction| transaction.queue(args, plan))
    }

    /// Returns what a request is answered; `None` if it was not executed and won't be, because the server
    /// does not serve.
    fn reply(&mut self, plan: RequestPlan, out: &ReplyBuffer<'_>) -> io::Result<Option<Reply>> {
        Ok(match plan {
            RequestPlan::Answer(reply) | RequestPlan::Quit(reply) => Some(reply),
            RequestPlan::Ping(text) if self.is_strict() => {
                Some(Reply::Push(vec![Reply::bulk("pong"), Reply::Bulk(text.unwrap_or_default())]))
            }
            RequestPlan::Ping(text) => Some(Reply::pong(text.as_deref())),
            RequestPlan::Info => Some(Reply::Text(self.engine.info(out.open_connections()))),
            RequestPlan::Introduce(introduction) => {
                self.has_changed = true;
                let reply = self.client.meet(introduction, || self.engine.next_client_id());
                // Messages come in the version of the replies.
                self.client.channels.iter().try_for_each(|channel| self.hear(channel, &[]))?;
                Some(reply)
            }
            RequestPlan::Read(read) => self.engine.read(&read),
            RequestPlan::Publish(channel, message) => self.engine.publish(&channel, &message),
            RequestPlan::Multi => Some(self.begin_transaction()),
            RequestPlan::Exec => self.execute(),
            RequestPlan::Discard => Some(match self.end_transaction() {
                Some(_) => Reply::ok(),
                None => Reply::error("DISCARD without MULTI"),
            }),
            // Gathered, or done by the caller.
            RequestPlan::Write(_) | RequestPlan::Subscribe(_) | RequestPlan::Unsubscribe(_) => None,
        })
    }

    fn begin_transaction(&mut self) -> Reply {
        if self.client.transaction.is_some() {
            return Reply::error("MULTI calls can not be nested");
        }
        self.has_changed = true;
        self.client.transaction = Some(Transaction::default());
        Reply::ok()
    }

    fn end_transaction(&mut self) -> Option<Transaction> {
        self.has_changed = true;
        self.client.transaction.take()
    }

    /// Does what is queued, all of it or nothing; messages are published when the rest is durable.
    fn execute(&mut self) -> Option<Reply> {
        let Some(transaction) = self.end_transaction() else {
            return Some(Reply::error("EXEC without MULTI"));
        };
        if transaction.is_broken() {
            return Some(Reply::error_of("EXECABORT", "Transaction discarded because of previous errors."));
        }
        let plans = transaction.plans();
        let mut replies = self.engine.write(plans.iter().map(step).collect())?;
        for (reply, plan) in replies.iter_mut().zip(&plans) {
            if let (Reply::Integer(_), RequestPlan::Publish(channel, message)) = (&*reply, plan) {
                *reply = self.engine.publish(channel, message)?;
            }
        }
        Some(Reply::Array(replies))
    }

    fn subscribe(&mut self, channels: Vec<Vec<u8>>, out: &mut ReplyBuffer<'_>) -> io::Result<AfterBatch> {
        out.mix_with(&self.pusher)?;
        out.send()?;
        self.has_changed = true;
        for channel in channels {
            if self.client.channels.len() == MAX_CHANNELS && !self.client.channels.contains(&channel) {
                self.answer(&Reply::error("too many channels"), out)?;
                break;
            }
            self.client.channels.insert(channel.clone());
            let confirmed = self.confirmation("subscribe", Some(&channel)).encoded(self.client.version);
            self.hear(&channel, &confirmed)?;
        }
        Ok(AfterBatch::Continue)
    }

    /// Has the messages of `channel` sent, after `confirmation`.
    fn hear(&self, channel: &[u8], confirmation: &[u8]) -> io::Result<()> {
        let subscriber = Subscriber { pusher: self.pusher.clone(), version: self.client.version };
        self.engine.subscriptions.add(channel, &subscriber, confirmation)
    }

    fn unsubscribe(
        &mut self,
        mut channels: Vec<Vec<u8>>,
        out: &mut ReplyBuffer<'_>,
    ) -> io::Result<AfterBatch> {
        if channels.is_empty() {
            channels.extend(self.client.channels.iter().cloned());
        }
        if channels.is_empty() {
            self.answer(&self.confirmation("unsubscribe", None), out)?;
        }
        self.has_changed = true;
        for channel in channels {
            self.engine.subscriptions.remove(&channel, self.pusher.id());
            self.client.channels.remove(&channel);
            self.answer(&self.confirmation("unsubscribe", Some(&channel)), out)?;
        }
        Ok(AfterBatch::Continue)
    }

    fn confirmation(&self, what: &str, channel: Option<&[u8]>) -> Reply {
        let count = Reply::Integer(i64::try_from(self.client.channels.len()).unwrap_or(i64::MAX));
        Reply::Push(vec![Reply::bulk(what), channel.map_or(Reply::Nil, Reply::bulk), count])
    }

    /// Executes `writes` and empties it. Where the database has been closed nothing is executed, and the end of
    /// the stream instead of a reply says so.
    fn commit(&self, writes: &mut Vec<JobStep>, out: &mut ReplyBuffer<'_>) -> io::Result<AfterBatch> {
        if writes.is_empty() {
            return Ok(AfterBatch::Continue);
        }
        let Some(replies) = self.engine.write(std::mem::take(writes)) else { return Ok(AfterBatch::Close) };
        replies.iter().try_for_each(|reply| self.answer(reply, out))?;
        Ok(AfterBatch::Continue)
    }

    fn answer(&self, reply: &Reply, out: &mut ReplyBuffer<'_>) -> io::Result<()> {
        out.push(|bytes| reply.encode(self.client.version, bytes))
    }

    /// The client has gone.
    fn leave(&self) {
        let id = self.pusher.id();
        self.client.channels.iter().for_each(|channel| self.engine.subscriptions.remove(channel, id));
    }
}

impl Conversation for RespSession {
    fn serve(&mut self, input: &[u8], out: &mut ReplyBuffer<'_>) -> io::Result<(usize, AfterBatch)> {
        if !self.client.channels.is_empty() {
            out.mix_with(&self.pusher)?;
        }
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
                    if out.is_enough() {
                        return Ok((used, self.commit(&mut writes, out)?));
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

    fn changed(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.has_changed).then(|| self.client.encode())
    }
}
