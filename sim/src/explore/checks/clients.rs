//! What must hold of the connections of clients: one process reads; what was read goes along; none ends without a cause.
use handoff::carry::{ConnectionState, Token};

use super::at_rest;
use crate::explore::model::Model;
use crate::explore::model::clients::{ClientConnection, LetsGo};

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

/// When a process begins to read a connection: it has all that was read of it and not answered, and nothing else; and no process has
/// read it after the one that knew that.
pub(crate) fn goes_on(
    pid: u32,
    token: Token,
    connection: &ClientConnection,
    after: u32,
    known: &ConnectionState,
) -> Option<String> {
    let differs = connection.state != *known || connection.last_reader != after;
    differs.then(|| format!("{pid} goes on with connection {token}, and does not have what was read of it"))
}

/// When a connection ends because `pid`, the last that had it, lets go of it: no process could have gone on with it.
pub(crate) fn ends(
    pid: u32,
    token: Token,
    connection: &ClientConnection,
    why: LetsGo,
    is_ended: bool,
) -> Option<String> {
    let is_right = match why {
        LetsGo::Ends => true,
        LetsGo::Retires => connection.has_died,
        // The process that had read it has died, and had not ended; or it has gone on.
        LetsGo::Serves | LetsGo::GivesUp => !is_ended,
    };
    let is_cut = !is_right && !connection.is_left;
    is_cut.then(|| format!("{pid} cuts connection {token} ({why:?})"))
}

/// When `pid` ends a connection for every process that has it: a successor has read it, and has left since.
pub(crate) fn is_shut_down(pid: u32, token: Token, connection: &ClientConnection) -> Option<String> {
    let is_cut = connection.last_reader == pid && !connection.is_left;
    is_cut.then(|| format!("{pid} shuts connection {token} down, and no other process has read it"))
}
