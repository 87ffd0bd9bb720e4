//! The rules of clients' connections in every state: one process reads. `crate::explore::model::passing` has
//! what must hold as they pass from process to process.
use super::at_rest;
use crate::explore::model::Model;

/// After every step: at most one process reads a connection, and that process serves, under the lock. When all is over, each is
/// read: its client waits for nothing.
pub(crate) fn one_reads(model: &Model) -> Option<String> {
    let clients = model.clients.as_ref()?;
    let rests = at_rest(model);
    clients.connections.iter().find_map(|(token, connection)| {
        let mut readers = connection.readers.iter();
        let reader = readers.next();
        let serves = |pid: &u32| {
            model.lock == Some(*pid) && model.processes.get(pid).is_some_and(|process| process.accepts)
        };
        match (reader, readers.next()) {
            (Some(one), Some(other)) => Some(format!("{one} and {other} read connection {token}")),
            (Some(pid), None) if !serves(pid) => {
                Some(format!("{pid} reads connection {token}, and does not serve"))
            }
            (None, _) if rests && !connection.is_left => Some(format!("no process reads connection {token}")),
            _ => None,
        }
    })
}
