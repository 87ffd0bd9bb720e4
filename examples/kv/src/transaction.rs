//! `MULTI`: requests that are queued, to be executed together. They are kept as they were received, so that another build plans
//! them for itself.
use crate::command::{JobStep, RequestPlan, plan};
use crate::resp::{Reply, encode_request, parse_request};

/// The number of bytes of requests that a client may queue: they are kept as long as its connection.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// The number of requests that a client may queue.
const MAX_REQUESTS: usize = 1024;

/// A transaction that is not executed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    requests: Vec<u8>,
    count: usize,
    /// `true` if a request was refused, so none is to be executed.
    broken: bool,
}

impl Transaction {
    /// Returns what another process had queued; `None` if these are no requests.
    pub(crate) fn restored(requests: &[u8], broken: bool) -> Option<Transaction> {
        let mut rest = requests;
        let mut count = 0;
        while !rest.is_empty() {
            let request = parse_request(rest).ok()??;
            rest = &rest[request.used..];
            count += 1;
        }
        Some(Transaction { requests: requests.to_vec(), count, broken })
    }

    /// The requests, as they were received.
    pub(crate) fn requests(&self) -> &[u8] {
        &self.requests
    }

    /// Returns whether a request was refused.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Queues a request that comes to `plan`, and says what the client is answered now.
    pub(crate) fn queue(&mut self, args: &[&[u8]], plan: RequestPlan) -> Reply {
        match plan {
            RequestPlan::Answer(Reply::Error(text)) => self.refuse(Reply::Error(text)),
            RequestPlan::Answer(_)
            | RequestPlan::Ping(_)
            | RequestPlan::Read(_)
            | RequestPlan::Write(_)
            | RequestPlan::Publish(..) => {
                let before = self.requests.len();
                encode_request(args, &mut self.requests);
                if self.requests.len() > MAX_BYTES || self.count == MAX_REQUESTS {
                    self.requests.truncate(before);
                    return self.refuse(Reply::error("the transaction is too long"));
                }
                self.count += 1;
                Reply::Simple("QUEUED".into())
            }
            _ => self.refuse(Reply::error("Command not allowed inside a transaction")),
        }
    }

    fn refuse(&mut self, reply: Reply) -> Reply {
        self.broken = true;
        reply
    }

    /// Returns what the requests come to, in order.
    pub(crate) fn plans(&self) -> Vec<RequestPlan> {
        let mut rest = &self.requests[..];
        let mut plans = Vec::new();
        while let Ok(Some(request)) = parse_request(rest) {
            plans.push(plan(&request.args));
            rest = &rest[request.used..];
        }
        plans
    }
}

/// Returns what of `plan` is to be done in the transaction. Messages are published after it, if it succeeds.
pub(crate) fn step(plan: &RequestPlan) -> JobStep {
    match plan {
        RequestPlan::Read(lookup) => JobStep::Read(lookup.clone()),
        RequestPlan::Write(write) => JobStep::Write(write.clone()),
        RequestPlan::Answer(reply) => JobStep::Answer(reply.clone()),
        RequestPlan::Ping(text) => JobStep::Answer(Reply::pong(text.as_deref())),
        RequestPlan::Publish(..) => JobStep::Answer(Reply::Integer(0)),
        _ => JobStep::Answer(Reply::error("Command not allowed inside a transaction")),
    }
}
