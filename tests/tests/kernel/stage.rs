//! The tools that a story is told with: what a kernel does for processes, and a record of what it did.
use std::fmt::Debug;

use handoff::ProcessId;
use handoff::frame;
use handoff::message::{Message, PROTO_MAX};

/// A process of a story: `A` is the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proc(pub usize);

/// A process's end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub process: Proc,
    pub link: u64,
}

/// A client's connection to the listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit(pub u64);

/// The reason why a connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// `ECONNREFUSED`, `ENOENT`.
    Refused,
    /// `EAGAIN`.
    QueueFull,
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Frame(u32),
    Nothing,
    /// End of file.
    Closed,
    /// `ECONNRESET`.
    Reset,
    /// End of file, in the middle of a frame.
    Torn,
}

/// The fate of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// `EAGAIN`.
    BufferFull,
    /// `EPIPE`, `ECONNRESET`.
    Broken,
}

/// A kernel. Nothing blocks but `read`, if it is told to wait, `wait_readable` and `answer`.
pub(crate) trait Kernel {
    fn spawn(&mut self) -> Proc;
    fn fork(&mut self, parent: Proc) -> Proc;
    fn exec(&mut self, process: Proc);
    fn kill(&mut self, process: Proc);
    fn stop(&mut self, process: Proc);
    fn go_on(&mut self, process: Proc);
    fn has_ended(&mut self, process: Proc) -> bool;
    fn identity(&mut self, process: Proc) -> Option<ProcessId>;
    /// About a millisecond passes.
    fn pass(&mut self);

    fn try_lock(&mut self, process: Proc) -> bool;
    fn unlock(&mut self, process: Proc);
    fn close_duplicate(&mut self, process: Proc);

    fn bind(&mut self, process: Proc);
    fn take_path(&mut self, process: Proc);
    fn connect(&mut self, process: Proc, to: Option<Proc>) -> Result<End, Failed>;
    fn accept(&mut self, process: Proc) -> Option<End>;

    fn peer(&mut self, end: End) -> Option<Proc>;
    fn send(&mut self, end: End, message: &Message) -> Sent;
    fn send_bytes(&mut self, end: End, bytes: &[u8]) -> Sent;
    fn read(&mut self, end: End, wait: bool) -> Heard;
    fn wait_readable(&mut self, end: End);
    fn close(&mut self, end: End);

    fn listen(&mut self, process: Proc);
    fn close_listener(&mut self, process: Proc);
    fn give_listener(&mut self, from: End);
    fn receive_listener(&mut self, to: End);
    fn knock(&mut self) -> Result<Visit, Failed>;
    fn answer(&mut self, process: Proc) -> Option<Visit>;
    fn is_hung_up(&mut self, visit: Visit) -> bool;
    /// The process that called `listen`, as a client sees it. Only Linux tells.
    fn who_listens(&mut self, visit: Visit) -> Option<Proc>;
}

/// A kernel, and what has happened on it.
pub(crate) struct KernelStage<'a> {
    kernel: &'a mut dyn Kernel,
    /// The events so far, a line each.
    pub told: Vec<String>,
    /// The choices of the kernel, where it has one.
    pub outcome: Vec<String>,
}

/// Many times what anything takes, in milliseconds.
const MOST: usize = 20_000;

impl<'a> KernelStage<'a> {
    pub(crate) fn new(kernel: &'a mut dyn Kernel) -> KernelStage<'a> {
        KernelStage { kernel, told: Vec::new(), outcome: Vec::new() }
    }

    fn note(&mut self, process: Proc, what: &str) {
        self.told.push(format!("{} {what}", name(process)));
    }

    fn tell<T: Debug>(&mut self, process: Proc, what: &str, found: T) -> T {
        self.told.push(format!("{} {what}: {found:?}", name(process)));
        found
    }

    /// Notes what this kernel did where kernels may differ.
    pub(crate) fn chose(&mut self, what: &str) {
        self.told.push(format!("so: {what}"));
        self.outcome.push(what.into());
    }

    pub(crate) fn processes<const N: usize>(&mut self) -> [Proc; N] {
        std::array::from_fn(|_| {
            let process = self.kernel.spawn();
            self.note(process, "starts");
            process
        })
    }

    pub(crate) fn fork(&mut self, parent: Proc) -> Proc {
        let child = self.kernel.fork(parent);
        self.note(parent, &format!("forks {}", name(child)));
        child
    }

    pub(crate) fn exec(&mut self, process: Proc) {
        self.note(process, "executes another program");
        self.kernel.exec(process);
    }

    /// Kills a process: it may not have ended yet.
    pub(crate) fn kill(&mut self, process: Proc) {
        self.note(process, "is killed");
        self.kernel.kill(process);
    }

    /// Kills it, and waits until it has ended.
    pub(crate) fn end(&mut self, process: Proc) {
        self.kill(process);
        self.until("it has ended", |stage| stage.kernel.has_ended(process));
        self.note(process, "has ended");
    }

    pub(crate) fn stop(&mut self, process: Proc) {
        self.note(process, "is stopped");
        self.kernel.stop(process);
    }

    pub(crate) fn go_on(&mut self, process: Proc) {
        self.note(process, "goes on");
        self.kernel.go_on(process);
    }

    pub(crate) fn has_ended(&mut self, process: Proc) -> bool {
        let ended = self.kernel.has_ended(process);
        self.tell(process, "has ended", ended)
    }

    pub(crate) fn identity(&mut self, process: Proc) -> Option<ProcessId> {
        let id = self.kernel.identity(process);
        self.note(process, if id.is_some() { "tells who it is" } else { "is nobody" });
        id
    }

    /// Some milliseconds pass.
    pub(crate) fn pass(&mut self, ms: usize) {
        (0..ms).for_each(|_| self.kernel.pass());
    }

    /// Waits until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..MOST {
            if done(self) {
                return;
            }
            self.kernel.pass();
        }
        panic!("waited in vain: {what}");
    }

    pub(crate) fn try_lock(&mut self, process: Proc) -> bool {
        let got = self.kernel.try_lock(process);
        self.tell(process, "tries the lock", got)
    }

    /// Tries the lock until it is granted.
    pub(crate) fn lock(&mut self, process: Proc) {
        self.until("the lock is free", |stage| stage.kernel.try_lock(process));
        self.note(process, "has got the lock");
    }

    pub(crate) fn unlock(&mut self, process: Proc) {
        self.note(process, "unlocks");
        self.kernel.unlock(process);
    }

    pub(crate) fn close_duplicate(&mut self, process: Proc) {
        self.note(process, "closes a duplicate of its descriptor");
        self.kernel.close_duplicate(process);
    }

    pub(crate) fn bind(&mut self, process: Proc) {
        self.note(process, "listens beside the path");
        self.kernel.bind(process);
    }

    pub(crate) fn take_path(&mut self, process: Proc) {
        self.note(process, "takes the path");
        self.kernel.take_path(process);
    }

    /// Connects to the control path.
    pub(crate) fn connect(&mut self, process: Proc) -> Result<End, Failed> {
        let end = self.kernel.connect(process, None);
        self.tell(process, "connects to the path", end.map(|_| ()).err());
        end
    }

    /// Connects to the socket of `to`.
    pub(crate) fn connect_to(&mut self, process: Proc, to: Proc) -> Result<End, Failed> {
        let end = self.kernel.connect(process, Some(to));
        self.tell(process, &format!("connects to {}", name(to)), end.map(|_| ()).err());
        end
    }

    pub(crate) fn accept(&mut self, process: Proc) -> Option<End> {
        let end = self.kernel.accept(process);
        self.tell(process, "accepts", end.is_some());
        end
    }

    /// A link between two processes, and its ends.
    pub(crate) fn link(&mut self, from: Proc, to: Proc) -> (End, End) {
        self.bind(to);
        let end = self.connect_to(from, to).expect("it listens");
        (end, self.accept(to).expect("one has connected"))
    }

    pub(crate) fn peer(&mut self, end: End) -> Option<Proc> {
        let peer = self.kernel.peer(end);
        self.tell(end.process, "sees at the other end", peer)
    }

    /// Sends frame `tag`.
    pub(crate) fn send(&mut self, end: End, tag: u32) -> Sent {
        let sent = self.kernel.send(end, &frame_of(tag));
        self.tell(end.process, &format!("sends {tag}"), sent)
    }

    /// Sends the first or the second half of frame `tag`.
    pub(crate) fn send_half(&mut self, end: End, tag: u32, second: bool) {
        let bytes = frame::encode(PROTO_MAX, &frame_of(tag)).unwrap();
        let (first_half, second_half) = bytes.split_at(bytes.len() / 2);
        self.note(end.process, &format!("sends a half of {tag}"));
        let sent = self.kernel.send_bytes(end, if second { second_half } else { first_half });
        assert_eq!(sent, Sent::Yes);
    }

    /// Reads what comes next.
    pub(crate) fn read(&mut self, end: End) -> Heard {
        let heard = self.kernel.read(end, true);
        self.tell(end.process, "reads", heard)
    }

    /// Reads what has come already; or, in a simulated kernel, is on its way.
    pub(crate) fn look(&mut self, end: End) -> Heard {
        let heard = self.kernel.read(end, false);
        self.tell(end.process, "looks", heard)
    }

    pub(crate) fn wait_readable(&mut self, end: End) {
        self.note(end.process, "waits for something to read");
        self.kernel.wait_readable(end);
    }

    pub(crate) fn close(&mut self, end: End) {
        self.note(end.process, "closes its end");
        self.kernel.close(end);
    }

    pub(crate) fn listen(&mut self, process: Proc) {
        self.note(process, "makes the listening socket");
        self.kernel.listen(process);
    }

    pub(crate) fn close_listener(&mut self, process: Proc) {
        self.note(process, "closes the listening socket");
        self.kernel.close_listener(process);
    }

    pub(crate) fn give_listener(&mut self, from: End) {
        self.note(from.process, "passes the listening socket on");
        self.kernel.give_listener(from);
    }

    pub(crate) fn receive_listener(&mut self, to: End) {
        self.note(to.process, "receives it");
        self.kernel.receive_listener(to);
    }

    /// A client connects.
    pub(crate) fn knock(&mut self) -> Result<Visit, Failed> {
        let visit = self.kernel.knock();
        self.told.push(format!("a client connects: {visit:?}"));
        visit
    }

    /// Accepts a client: which one.
    pub(crate) fn answer(&mut self, process: Proc) -> Option<Visit> {
        let visit = self.kernel.answer(process);
        self.tell(process, "accepts a client", visit)
    }

    pub(crate) fn is_hung_up(&mut self, visit: Visit) -> bool {
        let hung_up = self.kernel.is_hung_up(visit);
        self.told.push(format!("the client of {visit:?} finds its connection closed: {hung_up}"));
        hung_up
    }

    /// Waits until the client finds it closed.
    pub(crate) fn wait_hung_up(&mut self, visit: Visit, why: &str) {
        self.until(why, |stage| stage.kernel.is_hung_up(visit));
        self.told.push(format!("the client of {visit:?} finds its connection closed"));
    }

    pub(crate) fn who_listens(&mut self, visit: Visit) -> Option<Proc> {
        self.kernel.who_listens(visit)
    }
}

/// A frame that can be told from others.
pub(crate) fn frame_of(tag: u32) -> Message {
    Message::Refused { error: tag.to_string().into() }
}

fn name(process: Proc) -> char {
    char::from(b'A' + u8::try_from(process.0).unwrap())
}

impl Debug for Proc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", name(*self))
    }
}
