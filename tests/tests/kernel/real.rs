//! The real arm: processes of their own (`src/bin/worker.rs`), `flock(2)`, Unix sockets.
//!
//! A call returns when the system call has. Whatever comes of a story, its processes end with it.
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use handoff::ProcessId;
use handoff::frame;
use handoff::message::{Message, PROTO_MAX};
use handoff::unix::control::{self, Connect};
use handoff::unix::pid::{Watch, start_time_of};
use handoff_tests::{Bin, PATIENCE, processes, until};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::stage::{End, Failed, Heard, Kernel, Proc, Sent, Visit};

pub(crate) struct Real {
    workers: Vec<Worker>,
    commands: UnixListener,
    /// The address that the listening socket has, or is to have.
    address: String,
    clients: Vec<RealClient>,
    dir: TempDir,
}

enum RealClient {
    Unix(UnixStream),
    Tcp(TcpStream),
}

struct Worker {
    watch: Watch,
    child: Option<Child>,
    commands: BufReader<UnixStream>,
}

impl Real {
    pub(crate) fn new() -> Real {
        // Forks of processes that have ended become ours, to be waited for.
        set_child_subreaper(true).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let commands = UnixListener::bind(dir.path().join("commands")).unwrap();
        let address = format!("unix:{}", dir.path().join("listener").display());
        Real { workers: Vec::new(), commands, address, clients: Vec::new(), dir }
    }

    /// The same, with the listening socket on the loopback interface.
    pub(crate) fn over_tcp() -> Real {
        // No process listens there when this returns.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Real { address: free.to_string(), ..Real::new() }
    }

    /// The worker that connects next, and the connection over which its commands go.
    fn take_commands(&mut self, number: usize) -> (ProcessId, BufReader<UnixStream>) {
        let (stream, _) = self.commands.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut commands = BufReader::new(stream);
        let mut line = String::new();
        commands.read_line(&mut line).unwrap();
        let (caller, pid) = line.trim().split_once(' ').unwrap();
        assert_eq!(caller, number.to_string(), "somebody else called");
        let pid = pid.parse().unwrap();
        (ProcessId { pid, start_time: start_time_of(pid).unwrap().unwrap() }, commands)
    }

    fn tell(&mut self, process: Proc, line: &str) {
        writeln!(self.workers[process.0].commands.get_mut(), "{line}").unwrap();
    }

    /// Lets a process do something: its answer.
    fn ask(&mut self, process: Proc, line: &str) -> String {
        self.tell(process, line);
        let mut answer = String::new();
        let count = self.workers[process.0].commands.read_line(&mut answer).unwrap();
        assert!(count > 0, "{process:?} has died over {line:?}");
        answer.trim().into()
    }

    fn does(&mut self, process: Proc, line: &str) -> bool {
        self.ask(process, line) == "yes"
    }

    fn id(&self, process: Proc) -> ProcessId {
        self.workers[process.0].watch.id()
    }

    fn proc_of(&self, pid: u32) -> Option<Proc> {
        self.workers.iter().position(|worker| worker.watch.id().pid == pid).map(Proc)
    }
}

impl RealClient {
    fn connect(address: &str) -> Result<RealClient, Failed> {
        /// A connect to a queue that is full is not answered; any other is, at once.
        const LONG: Duration = Duration::from_secs(2);
        if let Some(path) = address.strip_prefix("unix:") {
            return match control::connect(Path::new(path)).unwrap() {
                Connect::Connected(stream) => Ok(RealClient::Unix(stream)),
                Connect::NotThere => Err(Failed::Refused),
                Connect::Retry => Err(Failed::QueueFull),
            };
        }
        match TcpStream::connect_timeout(&address.parse().unwrap(), LONG) {
            Ok(stream) => {
                stream.set_nonblocking(true).unwrap();
                Ok(RealClient::Tcp(stream))
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Failed::QueueFull),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(Failed::Refused),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        processes::send(self.watch.id().pid, Signal::SIGKILL);
        match &mut self.child {
            Some(child) => drop(child.wait()),
            // Its parent was dropped before it, so it is ours now.
            None => drop(waitpid(Pid::from_raw(self.watch.id().pid.cast_signed()), None)),
        }
    }
}

impl Kernel for Real {
    fn spawn(&mut self) -> Proc {
        let number = self.workers.len();
        let mut command = Command::new(Bin::Worker.path());
        command.arg(self.dir.path().join("commands")).arg(number.to_string()).arg(self.dir.path());
        let child = command.spawn().unwrap();
        let (id, commands) = self.take_commands(number);
        self.workers.push(Worker { watch: Watch::other(id).unwrap(), child: Some(child), commands });
        Proc(number)
    }
    fn fork(&mut self, parent: Proc) -> Proc {
        let number = self.workers.len();
        let forked = self.ask(parent, &format!("fork {number}"));
        let (id, commands) = self.take_commands(number);
        assert_eq!(forked, id.pid.to_string());
        self.workers.push(Worker { watch: Watch::other(id).unwrap(), child: None, commands });
        Proc(number)
    }
    fn exec(&mut self, process: Proc) {
        self.tell(process, &format!("exec {}", process.0));
        let (id, commands) = self.take_commands(process.0);
        assert_eq!(id, self.id(process), "it is the same process");
        self.workers[process.0].commands = commands;
    }
    fn kill(&mut self, process: Proc) {
        processes::send(self.id(process).pid, Signal::SIGKILL);
    }
    fn stop(&mut self, process: Proc) {
        processes::send(self.id(process).pid, Signal::SIGSTOP);
        let pid = self.id(process).pid;
        until("it is stopped", || processes::is_stopped(pid));
    }
    fn go_on(&mut self, process: Proc) {
        processes::send(self.id(process).pid, Signal::SIGCONT);
    }
    fn has_ended(&mut self, process: Proc) -> bool {
        self.workers[process.0].watch.ended().unwrap().is_some()
    }
    fn identity(&mut self, process: Proc) -> Option<ProcessId> {
        let id = self.id(process);
        let ended = !processes::lives(id.pid) || start_time_of(id.pid).unwrap() != Some(id.start_time);
        (!ended).then_some(id)
    }
    fn pass(&mut self) {
        sleep(Duration::from_millis(1));
    }

    fn try_lock(&mut self, process: Proc) -> bool {
        self.does(process, "lock")
    }
    fn unlock(&mut self, process: Proc) {
        assert!(self.does(process, "unlock"));
    }
    fn close_duplicate(&mut self, process: Proc) {
        assert!(self.does(process, "close-duplicate"));
    }

    fn bind(&mut self, process: Proc) {
        assert!(self.does(process, "bind"));
    }
    fn take_path(&mut self, process: Proc) {
        assert!(self.does(process, "take-path"));
    }
    fn connect(&mut self, process: Proc, to: Option<Proc>) -> Result<End, Failed> {
        let to = to.map_or("path".into(), |to| self.id(to).pid.to_string());
        match &self.ask(process, &format!("connect {to}"))[..] {
            "refused" => Err(Failed::Refused),
            "full" => Err(Failed::QueueFull),
            link => Ok(End { process, link: link.parse().unwrap() }),
        }
    }
    fn accept(&mut self, process: Proc) -> Option<End> {
        self.ask(process, "accept").parse().ok().map(|link| End { process, link })
    }

    fn peer(&mut self, end: End) -> Option<Proc> {
        let pid = self.ask(end.process, &format!("peer {}", end.link));
        self.proc_of(pid.parse().unwrap())
    }
    fn send(&mut self, end: End, message: &Message) -> Sent {
        self.send_bytes(end, &frame::encode(PROTO_MAX, message).unwrap())
    }
    fn send_bytes(&mut self, end: End, bytes: &[u8]) -> Sent {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match &self.ask(end.process, &format!("send {} {hex}", end.link))[..] {
            "sent" => Sent::Yes,
            "full" => Sent::BufferFull,
            _ => Sent::Broken,
        }
    }
    fn read(&mut self, end: End, wait: bool) -> Heard {
        let wait = if wait { "wait" } else { "look" };
        match &self.ask(end.process, &format!("read {} {wait}", end.link))[..] {
            "nothing" => Heard::Nothing,
            "closed" => Heard::Closed,
            "reset" => Heard::Reset,
            "torn" => Heard::Torn,
            tag => Heard::Frame(tag.parse().unwrap()),
        }
    }
    fn wait_readable(&mut self, end: End) {
        assert!(self.does(end.process, &format!("wait-readable {}", end.link)));
    }
    fn close(&mut self, end: End) {
        assert!(self.does(end.process, &format!("close {}", end.link)));
    }

    fn listen(&mut self, process: Proc) {
        let address = format!("listen {}", self.address);
        self.address = self.ask(process, &address);
    }
    fn close_listener(&mut self, process: Proc) {
        assert!(self.does(process, "close-listener"));
    }
    fn give_listener(&mut self, from: End) {
        assert!(self.does(from.process, &format!("give-listener {}", from.link)));
    }
    fn receive_listener(&mut self, to: End) {
        assert!(self.does(to.process, &format!("receive-listener {}", to.link)));
    }
    fn knock(&mut self) -> Result<Visit, Failed> {
        let name = self.clients.len() as u32;
        let client = RealClient::connect(&self.address)?;
        match &client {
            RealClient::Unix(stream) => (&*stream).write_all(&name.to_le_bytes()).unwrap(),
            RealClient::Tcp(stream) => (&*stream).write_all(&name.to_le_bytes()).unwrap(),
        }
        self.clients.push(client);
        Ok(Visit(name.into()))
    }
    fn answer(&mut self, process: Proc) -> Option<Visit> {
        self.ask(process, "answer").parse().ok().map(Visit)
    }
    fn is_hung_up(&mut self, visit: Visit) -> bool {
        let read = match &self.clients[visit.0 as usize] {
            RealClient::Unix(stream) => (&*stream).read(&mut [0]),
            RealClient::Tcp(stream) => (&*stream).read(&mut [0]),
        };
        match read {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
    fn who_listens(&mut self, visit: Visit) -> Option<Proc> {
        let RealClient::Unix(stream) = &self.clients[visit.0 as usize] else { return None };
        self.proc_of(control::peer(stream).unwrap().pid?)
    }
}
