//! The reasons why a file or a directory is not trusted.
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The reason why something is not trusted. The text names it, what is wrong with it, and the command that
/// helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} can't be trusted: {flaw}", path.display())]
pub struct Distrust {
    /// The path that is at fault: the one that was asked for, a link on the way to it, or the directory that it lies in.
    pub path: PathBuf,
    /// The flaw in it.
    pub flaw: Flaw,
}

/// The kind of thing that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A Unix socket.
    Socket,
}

impl Kind {
    pub(crate) fn is_that_of(self, found: &Metadata) -> bool {
        match self {
            Kind::File => found.is_file(),
            Kind::Directory => found.is_dir(),
            Kind::Socket => found.file_type().is_socket(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::File => "a regular file",
            Kind::Directory => "a directory",
            Kind::Socket => "a socket",
        })
    }
}

/// A flaw in something that was to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A symbolic link where there must be none.
    #[error("it is a symbolic link: remove it, or name what it leads to")]
    Link,
    /// More symbolic links in a row than the kernel follows.
    #[error("it leads to itself by symbolic links: remove one of them")]
    Loop,
    /// Another kind of file than the one that is expected.
    #[error("it is not {0}: choose another path")]
    Kind(Kind),
    /// An owner that may change it at any time, and is neither root nor the user that is expected.
    #[error("it belongs to uid {owner}: chown {} {}", wanted, path.display())]
    Owner {
        /// The owner's uid.
        owner: u32,
        /// The uid that it may belong to, beside root's.
        wanted: u32,
        /// The path that `chown` is to be called with.
        path: PathBuf,
    },
    /// A mode that lets others write to it.
    #[error("others may write to it (mode {mode:04o}): chmod go-w {}", path.display())]
    Writable {
        /// The mode: its permission bits.
        mode: u32,
        /// The path that `chmod` is to be called with.
        path: PathBuf,
    },
    /// A mode that lets others open it: a user that may open a directory may hold its lock.
    #[error(
        "others may open it (mode {mode:04o}), and with that hold its lock: chmod go-rwx {} (for systemd, \
         StateDirectoryMode=0700 in the unit)", path.display()
    )]
    Readable {
        /// The mode: its permission bits.
        mode: u32,
        /// The path that `chmod` is to be called with.
        path: PathBuf,
    },
}

impl Distrust {
    pub(crate) fn new(path: &Path, flaw: Flaw) -> Distrust {
        Distrust { path: path.to_path_buf(), flaw }
    }

    /// The `Distrust` that `error` was made of; `None` if it is another error.
    pub fn of(error: &io::Error) -> Option<&Distrust> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, distrust)
    }
}
