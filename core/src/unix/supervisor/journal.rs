//! The journal as this process writes it: dated, and to a file if there is one.
use std::time::SystemTime;

use crate::error::Result;
use crate::journal::Journal;
use crate::unix::journal::JournalFile;

/// `journal`, written now.
pub(super) fn dated(journal: Journal) -> Journal {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Journal { written_at_unix_ms: crate::message::millis(since), ..journal }
}

/// Writes `journal`, if there is a file for it.
pub(super) fn write(file: Option<&mut JournalFile>, journal: &Journal) -> Result<()> {
    file.map_or(Ok(()), |file| file.write(journal))
}
