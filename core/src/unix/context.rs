//! Errors of the system, with what was tried and what helps in front of them.
use std::io;

use crate::error::{Error, Result};
use crate::unix::trusted::Distrust;

/// Turns an error of the system into [`Error::System`], and a [`Distrust`] into [`Error::Untrusted`].
pub(crate) trait Context<T> {
    /// Adds `text`, which says what was tried, on what, and, where there is one, the remedy.
    fn context(self, text: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let source = error.into();
            match Distrust::of(&source) {
                Some(distrust) => Error::Untrusted(distrust.clone()),
                None => Error::System { context: text(), source },
            }
        })
    }
}
