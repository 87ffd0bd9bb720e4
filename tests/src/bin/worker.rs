//! A process that makes the system calls it is told to make, one a line: `worker COMMANDS NUMBER DIR`.
//!
//! The worker connects to the Unix socket `COMMANDS`, says its number and pid, and then answers each line with one. What production
//! does itself (the lock, the control socket, frames, listening) is done by production's code. When its commands are cut it
//! exits.
#![allow(clippy::unwrap_used, reason = "a process of a test that cannot go on should panic")]
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use handoff::frame::Decoder;
use handoff::message::Message;
use handoff::unix::control::{self, Connect, ControlSocket};
use handoff::{DataDirLock, Listeners};
use handoff_tests::PATIENCE;
use handoff_tests::raw::{fork_alone, receive_descriptor};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, ControlMessage, MsgFlags, listen, sendmsg};

/// As in the simulated kernel.
const BACKLOG: i32 = 128;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, commands, number, dir] = &args[..] else { panic!("worker COMMANDS NUMBER DIR") };
    // One that was stopped would not notice that its parent has gone.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let mut worker = WorkerProcess {
        commands: commands.into(),
        dir: dir.into(),
        lock: DataDirLock::open(dir).unwrap(),
        control: None,
        links: Vec::new(),
        listener: None,
        visitors: Vec::new(),
    };
    worker.work(number);
}

struct WorkerProcess {
    commands: PathBuf,
    dir: PathBuf,
    lock: DataDirLock,
    control: Option<ControlSocket>,
    links: Vec<Option<(UnixStream, Decoder)>>,
    /// The listening socket that clients know.
    listener: Option<AnyListener>,
    visitors: Vec<Box<dyn Read>>,
}

enum AnyListener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl WorkerProcess {
    /// Does what it is told, under `number`. A fork goes on under another.
    fn work(&mut self, number: &str) {
        let mut number = number.to_string();
        loop {
            let mut commands = UnixStream::connect(&self.commands).unwrap();
            writeln!(commands, "{number} {}", std::process::id()).unwrap();
            match self.obey(commands) {
                Some(fork) => number = fork,
                None => std::process::exit(0),
            }
        }
    }

    /// Until its commands are cut; or, in a forked child, at once: with its number.
    fn obey(&mut self, mut commands: UnixStream) -> Option<String> {
        let mut lines = BufReader::new(commands.try_clone().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["fork", number] = words[..] {
                assert!(self.control.is_none(), "a fork would hold its parent's control socket");
                match fork_alone().unwrap() {
                    Some(pid) => writeln!(commands, "{pid}").unwrap(),
                    None => {
                        (self.links, self.visitors) = (Vec::new(), Vec::new());
                        return Some(number.into());
                    }
                }
                continue;
            }
            let answer = self.act(&words);
            writeln!(commands, "{answer}").unwrap();
        }
        None
    }

    fn act(&mut self, words: &[&str]) -> String {
        match *words {
            ["exec", number] => panic!("{}", self.become_another(number)),
            ["lock"] => yes(self.lock.try_lock().unwrap()),
            ["unlock"] => yes(self.lock.unlock().is_ok()),
            ["close-duplicate"] => yes(self.lock.as_fd().try_clone_to_owned().is_ok()),
            ["bind"] => {
                self.control = Some(ControlSocket::bind_beside(self.path()).unwrap());
                yes(true)
            }
            ["take-path"] => yes(self.control().take_path().is_ok()),
            ["connect", to] => self.connect(to),
            ["accept"] => self.accept(),
            ["listen", address] => self.listen(address),
            ["close-listener"] => yes(self.listener.take().is_some()),
            ["answer"] => self.answer(),
            [verb, link, ref rest @ ..] => self.act_on(verb, link.parse().unwrap(), rest),
            _ => panic!("nobody knows what {words:?} is"),
        }
    }

    fn act_on(&mut self, verb: &str, link: usize, rest: &[&str]) -> String {
        match (verb, rest) {
            ("peer", []) => control::peer(self.stream(link)).unwrap().pid.unwrap().to_string(),
            ("send", [bytes]) => self.send(link, &from_hex(bytes)),
            ("read", [wait]) => self.read(link, *wait == "wait"),
            ("wait-readable", []) => {
                wait_readable(self.stream(link));
                yes(true)
            }
            ("close", []) => yes(self.links[link].take().is_some()),
            ("give-listener", []) => self.give_listener(link),
            ("receive-listener", []) => {
                wait_readable(self.stream(link));
                self.listener = Some(AnyListener::from(receive_descriptor(self.stream(link)).unwrap()));
                yes(true)
            }
            _ => panic!("nobody knows what {verb} is"),
        }
    }

    fn become_another(&self, number: &str) -> std::io::Error {
        let mut another = Command::new(std::env::current_exe().unwrap());
        another.arg(&self.commands).arg(number).arg(&self.dir).exec()
    }

    fn path(&self) -> PathBuf {
        self.dir.join("control")
    }

    fn control(&self) -> &ControlSocket {
        self.control.as_ref().unwrap()
    }

    fn stream(&self, link: usize) -> &UnixStream {
        &self.links[link].as_ref().unwrap().0
    }

    fn connect(&mut self, to: &str) -> String {
        let path = to.parse().map_or_else(|_| self.path(), |pid| control::beside(&self.path(), pid));
        match control::connect(&path).unwrap() {
            Connect::Connected(stream) => self.linked(stream),
            Connect::NotThere => "refused".into(),
            Connect::Retry => "full".into(),
        }
    }

    fn accept(&mut self) -> String {
        match self.control().accept().unwrap() {
            Some((stream, _)) => self.linked(stream),
            None => "nobody".into(),
        }
    }

    fn linked(&mut self, stream: UnixStream) -> String {
        self.links.push(Some((stream, Decoder::default())));
        (self.links.len() - 1).to_string()
    }

    fn send(&mut self, link: usize, bytes: &[u8]) -> String {
        match self.stream(link).write(bytes) {
            Ok(count) if count == bytes.len() => "sent".into(),
            Ok(count) => panic!("{count} bytes of a small frame were sent"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => "full".into(),
            Err(_) => "broken".into(),
        }
    }

    /// Returns what comes next, as production's links read it.
    fn read(&mut self, link: usize, wait: bool) -> String {
        loop {
            let (stream, decoder) = self.links[link].as_mut().unwrap();
            match decoder.next() {
                Ok(Some(Message::Refused { error })) => return error.into(),
                Ok(None) => {}
                other => panic!("{other:?}"),
            }
            if wait {
                wait_readable(stream);
            }
            let mut bytes = [0; 1024];
            match stream.read(&mut bytes) {
                Ok(0) => return if decoder.finish().is_ok() { "closed" } else { "torn" }.into(),
                Ok(count) => decoder.push(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return "reset".into(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return "nothing".into(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Listens at `address`: where, as clients are to be told it.
    fn listen(&mut self, address: &str) -> String {
        let socket = handoff::unix::bind(address).unwrap();
        listen(&socket, Backlog::new(BACKLOG).unwrap()).unwrap();
        let listener = AnyListener::from(socket);
        let place = match &listener {
            AnyListener::Unix(_) => address.to_string(),
            AnyListener::Tcp(listener) => listener.local_addr().unwrap().to_string(),
        };
        self.listener = Some(listener);
        place
    }

    /// Waits for a client, accepts and keeps it: which one, by what it says first.
    fn answer(&mut self) -> String {
        let listener = self.listener.as_ref().unwrap();
        wait_readable(listener);
        let mut visitor = listener.accept();
        let mut name = [0; 4];
        visitor.read_exact(&mut name).unwrap();
        self.visitors.push(visitor);
        u32::from_le_bytes(name).to_string()
    }

    fn give_listener(&self, link: usize) -> String {
        let listener = [self.listener.as_ref().unwrap().as_fd().as_raw_fd()];
        let beside = [ControlMessage::ScmRights(&listener)];
        let stream = self.stream(link).as_raw_fd();
        yes(sendmsg::<()>(stream, &[IoSlice::new(b"x")], &beside, MsgFlags::empty(), None).is_ok())
    }
}

impl From<OwnedFd> for AnyListener {
    fn from(socket: OwnedFd) -> AnyListener {
        let mut sockets = Listeners::from_entries(vec![("listener".into(), socket)]).unwrap();
        let tcp = sockets.take_tcp("listener").map(AnyListener::Tcp);
        tcp.unwrap_or_else(|| AnyListener::Unix(sockets.take_unix("listener").unwrap()))
    }
}

impl AnyListener {
    fn accept(&self) -> Box<dyn Read> {
        match self {
            AnyListener::Unix(listener) => Box::new(listener.accept().unwrap().0),
            AnyListener::Tcp(listener) => Box::new(listener.accept().unwrap().0),
        }
    }
}

impl AsFd for AnyListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            AnyListener::Unix(listener) => listener.as_fd(),
            AnyListener::Tcp(listener) => listener.as_fd(),
        }
    }
}

fn wait_readable(what: &impl AsFd) {
    let mut fds = [PollFd::new(what.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
    assert!(ready > 0, "nothing came for {PATIENCE:?}");
}

fn yes(really: bool) -> String {
    if really { "yes" } else { "no" }.into()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}
