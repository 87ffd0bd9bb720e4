//! Accepting: a thread a listener, a thread a connection, and the drain that ends them.
//!
//! The listening sockets are shared with the supervisor and, in a handoff, with the other daemon: the kernel goes
//! on queueing connections whoever accepts. So a drain closes none of them and leaves their flags alone (`O_NONBLOCK`
//! belongs to all who share them); it stops *calling* `accept(2)`, and what queues up meanwhile is the successor's.
//!
//! Invariant: what is accepted is served. There is a thread for a connection before it is accepted, and after
//! [`Server::drain`] has begun nothing is.
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use handoff::DrainReport;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;

use crate::census::{Census, Present};
use crate::connection::{End, Session, finish, linger, serve};
use crate::engine::Engine;
use crate::gate::{Gate, Woken};
use crate::http::HttpSession;
use crate::patience::Patience;
use crate::session::RespSession;

/// How many connections may be open; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 1024;
/// How long to let things be when there are no more descriptors, threads or connections to be had.
const BACK_OFF: Duration = Duration::from_millis(20);
/// What the threads that accept are given to notice a drain, even if its grace is shorter.
const ACCEPT_STOPS: Duration = Duration::from_secs(1);
/// What a connection's thread needs: its buffers are on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp,
    Http,
}

/// The sockets and the threads on them.
#[derive(Debug)]
pub(crate) struct Server {
    listeners: Vec<(Protocol, Arc<TcpListener>)>,
    engine: Arc<Engine>,
    census: Arc<Census>,
    patience: Patience,
    gate: Arc<Gate>,
}

impl Server {
    /// Starts to accept.
    pub(crate) fn start(
        listeners: Vec<(Protocol, TcpListener)>,
        engine: Arc<Engine>,
        census: Arc<Census>,
        patience: Patience,
    ) -> io::Result<Server> {
        listeners.iter().for_each(|(protocol, listener)| warn_if_blocking(*protocol, listener));
        let listeners =
            listeners.into_iter().map(|(protocol, listener)| (protocol, Arc::new(listener))).collect();
        let mut server = Server { listeners, engine, census, patience, gate: Arc::new(Gate::new()?) };
        server.accept()?;
        Ok(server)
    }

    /// Stops accepting, has every connection answer what has come and close, and waits for that, `grace` at most. A
    /// connection that makes no progress is cut long before that, as the server's [`Patience`] says.
    pub(crate) fn drain(&self, grace: Duration) -> DrainReport {
        let started = Instant::now();
        self.gate.close();
        // Accepting stops at once, however short the grace; only a busy machine makes it take a moment.
        self.census.wait(grace.max(ACCEPT_STOPS), |counts| counts.acceptors == 0);
        let before = self.census.counts().cut;
        let left = self.census.wait(grace.saturating_sub(started.elapsed()), |counts| counts.open == 0);
        let cut = left.cut.saturating_sub(before);
        if cut > 0 {
            tracing::warn!(cut, stall = ?self.patience.stall, "cut connections that made no progress in the drain");
        }
        DrainReport { open_conns_remaining: left.open, accept_closed: left.acceptors == 0 }
    }

    /// Accepts again after a drain; does nothing if there was none.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        if self.gate.is_closed() {
            self.gate = Arc::new(Gate::new()?);
            self.accept()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        for (protocol, listener) in &self.listeners {
            let acceptor = Acceptor {
                protocol: *protocol,
                listener: listener.clone(),
                engine: self.engine.clone(),
                census: self.census.clone(),
                patience: self.patience,
                gate: self.gate.clone(),
            };
            let post = self.census.enter(|counts| &mut counts.acceptors);
            let started = thread::Builder::new().name("accept".into()).spawn(move || {
                acceptor.run();
                drop(post);
            });
            if let Err(error) = started {
                // Whoever resumes tries again; half of a server is none.
                self.gate.close();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// With a blocking listener a thread can hang in `accept(2)` when what `poll(2)` saw is gone; a drain then ends with
/// its grace, and says that accepting did not stop.
fn warn_if_blocking(protocol: Protocol, listener: &TcpListener) {
    let flags = fcntl(listener, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    if flags.is_ok_and(|flags| !flags.contains(OFlag::O_NONBLOCK)) {
        tracing::warn!(?protocol, "the listener blocks: whoever binds it should set O_NONBLOCK");
    }
}

struct Acceptor {
    protocol: Protocol,
    listener: Arc<TcpListener>,
    engine: Arc<Engine>,
    census: Arc<Census>,
    patience: Patience,
    gate: Arc<Gate>,
}

impl Acceptor {
    fn run(&self) {
        let mut spare = None;
        let mut in_trouble = false;
        while !self.gate.is_closed() {
            match self.accept_one(&mut spare) {
                Ok(()) => in_trouble = false,
                Err(error) => {
                    if !in_trouble {
                        tracing::warn!(protocol = ?self.protocol, %error, "can't accept for now");
                    }
                    in_trouble = true;
                    self.gate.wait_timeout(BACK_OFF);
                }
            }
        }
    }

    /// Waits for one connection and hands it to the spare thread. An error is one that passes, if at all, with time.
    fn accept_one(&self, spare: &mut Option<Spare>) -> io::Result<()> {
        if self.census.counts().open >= MAX_CONNECTIONS {
            return Err(io::Error::other("too many connections"));
        }
        let ready = match spare.take() {
            Some(ready) => ready,
            None => self.spare()?,
        };
        if self.gate.wait_for(self.listener.as_fd(), PollFlags::POLLIN)? == Woken::Ready
            && !self.gate.is_closed()
        {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    ready.serve(stream, self.census.enter(|counts| &mut counts.open));
                    return Ok(());
                }
                // Another process was faster, or the client has given up.
                Err(e) if is_passing(&e) => {}
                Err(e) => {
                    *spare = Some(ready);
                    return Err(e);
                }
            }
        }
        *spare = Some(ready);
        Ok(())
    }

    /// A thread that waits for its connection.
    fn spare(&self) -> io::Result<Spare> {
        let (hand, taken) = sync_channel::<(TcpStream, Present)>(1);
        let (protocol, engine) = (self.protocol, self.engine.clone());
        let (census, gate, patience) = (self.census.clone(), self.gate.clone(), self.patience);
        thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES).spawn(move || {
            let Ok((stream, open)) = taken.recv() else { return };
            let end = attend(protocol, engine, &stream, &gate, patience);
            finish(&stream);
            if end.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
                census.count_cut();
            }
            if !matches!(end, Ok(End::Left)) {
                let lingering = census.enter(|counts| &mut counts.lingering);
                drop(open);
                linger(&stream);
                drop(lingering);
            }
        })?;
        Ok(Spare(hand))
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

fn attend(
    protocol: Protocol,
    engine: Arc<Engine>,
    stream: &TcpStream,
    gate: &Gate,
    patience: Patience,
) -> io::Result<End> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut session: Box<dyn Session> = match protocol {
        Protocol::Resp => Box::new(RespSession::new(engine)),
        Protocol::Http => Box::new(HttpSession { engine }),
    };
    serve(stream, gate, patience, session.as_mut())
}

/// A thread in waiting. Dropped without a connection, it ends.
struct Spare(SyncSender<(TcpStream, Present)>);

impl Spare {
    fn serve(self, stream: TcpStream, open: Present) {
        // The thread does nothing else than to wait for this.
        let _ = self.0.send((stream, open));
    }
}
