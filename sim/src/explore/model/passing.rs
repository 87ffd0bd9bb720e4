//! The rules for a connection that passes from process to process, or ends: what was read goes along, and
//! none ends without a cause. Asked as it happens: the state afterwards does not tell.
use handoff::carry::{ConnectionState, Token};

use super::connection::{ClientConnection, LetsGo};

/// Checks that a process that begins to read a connection has all that was read of it and not answered, and
/// nothing else; and that no process has read it after the one that knew that.
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

/// Checks, when a connection ends because `pid`, the last that had it, lets go of it, that no process could
/// have gone on with it.
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

/// Checks, when `pid` ends a connection for every process that has it, that a successor has read it, and has
/// left since.
pub(crate) fn is_shut_down(pid: u32, token: Token, connection: &ClientConnection) -> Option<String> {
    let is_cut = connection.last_reader == pid && !connection.is_left;
    is_cut.then(|| format!("{pid} shuts connection {token} down, and no other process has read it"))
}
