//! The run directory: whose socket the control path leads to, the sockets beside it, and those that were swept from it.
use super::SimulatedKernel;
use super::swept::Swept;

impl<P, E> SimulatedKernel<P, E> {
    /// The control path leads to `pid` from here on. A client that waits at the process to which it led before still waits there.
    pub(crate) fn takes_path(&mut self, pid: u32) {
        self.control_path = Some(pid);
    }

    /// The process that a connect to the control path reaches; none, if its owner has died.
    pub(crate) fn who_answers_at_path(&self) -> Option<u32> {
        self.control_path.filter(|owner| self.answers(*owner))
    }

    /// Returns whether a connect to a process's own control socket reaches it.
    pub(crate) fn answers(&self, pid: u32) -> bool {
        !self.swept.has(pid) && self.processes.get(&pid).is_some_and(|process| process.answers())
    }

    /// A process removes its sockets.
    pub(crate) fn removes_sockets(&mut self, pid: u32) {
        self.names_beside.remove(&pid);
        self.swept.pids.remove(&pid);
        self.swept.path = self.swept.path.filter(|owner| *owner != pid);
        self.control_path = self.control_path.filter(|owner| *owner != pid);
    }

    /// The sockets of all processes are removed. `false` if there are none.
    pub(crate) fn sockets_are_swept(&mut self) -> bool {
        if self.names_beside.is_empty() && self.control_path.is_none() {
            return false;
        }
        self.swept.pids.append(&mut self.names_beside);
        self.swept.path = self.control_path.take().or(self.swept.path);
        true
    }

    /// Gives the daemons that live their sockets back, and the control path to its owner, unless another daemon has taken it meanwhile.
    pub(crate) fn sockets_are_put_back(&mut self) {
        let Swept { pids, path, .. } = std::mem::take(&mut self.swept);
        self.swept.put_back = Some(self.now);
        let lives = |pid: &u32| self.processes.get(pid).is_some_and(|process| process.lives());
        self.names_beside.extend(pids.iter().copied().filter(lives));
        self.control_path = self.control_path.or(path.filter(lives));
    }
}
