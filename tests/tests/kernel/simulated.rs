//! The simulated arm: `handoff_sim`'s own kernel.
use handoff::ProcessId;
use handoff::message::Message;
use handoff_sim::kernel::{Bare, Busy, WhyClosed};

use crate::stage::{End, Failed, Heard, Kernel, Proc, Sent, Visit};

pub(crate) struct SimulatedArm {
    machine: Bare,
    pids: Vec<u32>,
}

impl SimulatedArm {
    pub(crate) fn new(seed: u64) -> SimulatedArm {
        SimulatedArm { machine: Bare::new(seed), pids: Vec::new() }
    }

    fn pid(&self, process: Proc) -> u32 {
        self.pids[process.0]
    }

    fn known(&mut self, pid: u32) -> Proc {
        self.pids.push(pid);
        Proc(self.pids.len() - 1)
    }
}

impl Kernel for SimulatedArm {
    fn spawn(&mut self) -> Proc {
        let pid = self.machine.spawn();
        self.known(pid)
    }
    fn fork(&mut self, parent: Proc) -> Proc {
        let pid = self.machine.fork(self.pid(parent));
        self.known(pid)
    }
    fn exec(&mut self, process: Proc) {
        self.machine.exec(self.pid(process));
    }
    fn kill(&mut self, process: Proc) {
        self.machine.kill(self.pid(process));
    }
    fn stop(&mut self, process: Proc) {
        self.machine.stop(self.pid(process));
    }
    fn go_on(&mut self, process: Proc) {
        self.machine.go_on(self.pid(process));
    }
    fn has_ended(&mut self, process: Proc) -> bool {
        self.machine.has_ended(self.pid(process))
    }
    fn identity(&mut self, process: Proc) -> Option<ProcessId> {
        self.machine.identity(self.pid(process))
    }
    fn pass(&mut self) {
        self.machine.pass(1000);
    }

    fn try_lock(&mut self, process: Proc) -> bool {
        self.machine.try_lock(self.pid(process))
    }
    fn unlock(&mut self, process: Proc) {
        self.machine.unlock(self.pid(process));
    }
    fn close_duplicate(&mut self, _: Proc) {
        // A process has one descriptor of its directory here.
    }

    fn bind(&mut self, process: Proc) {
        self.machine.bind(self.pid(process));
    }
    fn take_path(&mut self, process: Proc) {
        self.machine.take_path(self.pid(process));
    }
    fn connect(&mut self, process: Proc, to: Option<Proc>) -> Result<End, Failed> {
        let link = self.machine.connect(self.pid(process), to.map(|to| self.pid(to)));
        link.map(|link| End { process, link }).ok_or(Failed::Refused)
    }
    fn accept(&mut self, process: Proc) -> Option<End> {
        self.machine.accept(self.pid(process)).map(|link| End { process, link })
    }

    fn peer(&mut self, end: End) -> Option<Proc> {
        let peer = self.machine.peer(end.link, self.pid(end.process))?;
        self.pids.iter().position(|pid| *pid == peer).map(Proc)
    }
    fn send(&mut self, end: End, message: &Message) -> Sent {
        self.machine.send(end.link, self.pid(end.process), message);
        Sent::Yes
    }
    fn send_bytes(&mut self, end: End, bytes: &[u8]) -> Sent {
        self.machine.send_bytes(end.link, self.pid(end.process), bytes);
        Sent::Yes
    }
    fn read(&mut self, end: End, _: bool) -> Heard {
        match self.machine.read(end.link, self.pid(end.process)) {
            None => Heard::Nothing,
            Some(Ok(Message::Refused { error })) => Heard::Frame(error.parse().unwrap()),
            Some(Ok(other)) => panic!("nobody has sent {other:?}"),
            Some(Err(WhyClosed::EndOfFile)) => Heard::Closed,
            Some(Err(WhyClosed::Reset)) => Heard::Reset,
            Some(Err(WhyClosed::Broken(_))) => Heard::Torn,
        }
    }
    fn wait_readable(&mut self, end: End) {
        self.machine.wait_readable(end.link, self.pid(end.process));
    }
    fn close(&mut self, end: End) {
        self.machine.close(end.link, self.pid(end.process));
    }

    fn listen(&mut self, process: Proc) {
        self.machine.listen(self.pid(process));
    }
    fn close_listener(&mut self, process: Proc) {
        self.machine.close_listener(self.pid(process));
    }
    fn give_listener(&mut self, _: End) {
        // It comes with the message that it is received with.
    }
    fn receive_listener(&mut self, to: End) {
        self.machine.receive_listener(self.pid(to.process));
    }
    fn knock(&mut self) -> Result<Visit, Failed> {
        self.machine.knock().map(Visit).map_err(|busy| match busy {
            Busy::Refused => Failed::Refused,
            Busy::Full => Failed::QueueFull,
        })
    }
    fn answer(&mut self, process: Proc) -> Option<Visit> {
        self.machine.answer(self.pid(process)).map(Visit)
    }
    fn is_hung_up(&mut self, visit: Visit) -> bool {
        self.machine.is_hung_up(visit.0)
    }
    fn who_listens(&mut self, _: Visit) -> Option<Proc> {
        panic!("only Linux tells")
    }
}
