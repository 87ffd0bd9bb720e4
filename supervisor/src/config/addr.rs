//! The addresses of listeners, and which of them are in each other's way.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use handoff::BindOptions;

use super::bad_value::BadValue;

/// The longest path of a Unix socket, less what a temporary name beside it needs; see `unix(7)`.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 } - 4;
/// The longest name of an abstract Unix socket, in bytes.
const ABSTRACT_MAX: usize = 107;

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addr {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
    /// The name of an abstract Unix stream socket.
    Abstract(String),
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Tcp(addr) => write!(f, "{addr}"),
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// A listening socket that the supervisor binds and the daemon inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The name by which the daemon asks for it (`LISTEN_FDNAMES`).
    pub name: String,
    /// The address that the listener is bound to.
    pub addr: Addr,
    /// The options that the listener is bound with.
    pub options: BindOptions,
}

impl ListenerConfig {
    /// Returns why this listener and `other` can't both be bound, if they can't.
    pub(super) fn collides(&self, other: &ListenerConfig) -> Option<String> {
        let (Addr::Tcp(a), Addr::Tcp(b)) = (&self.addr, &other.addr) else {
            return (self.addr == other.addr).then(|| format!("{} is given twice", self.addr));
        };
        if a.port() == 0 || a.port() != b.port() {
            return None;
        }
        if a == b {
            return Some(format!("{a} is given twice"));
        }
        let covers = |listener: &ListenerConfig, other: IpAddr| match listener.addr {
            Addr::Tcp(addr) if addr.ip().is_unspecified() => {
                addr.is_ipv4() == other.is_ipv4()
                    || (addr.is_ipv6() && listener.options.only_v6 != Some(true))
            }
            _ => false,
        };
        let (ours, theirs) = (covers(self, b.ip()), covers(other, a.ip()));
        if !(ours || theirs) {
            return None;
        }
        let remedy = match a.is_ipv4() == b.is_ipv4() {
            true => "leave one of them out",
            false => "give the IPv6 one `only_v6 = true`, or leave the IPv4 one out",
        };
        let (all, one) = if ours { (a, b) } else { (b, a) };
        Some(format!("{all} takes the connections to {one}, too: {remedy}"))
    }
}

/// Reads an address; a relative path starts at `dir`.
pub(super) fn parse_addr(dir: &Path, text: &str) -> Result<Addr, BadValue> {
    match text.strip_prefix("unix:") {
        Some(name) if name.starts_with('@') => parse_abstract(&name[1..]),
        Some(path) => socket_path(&dir.join(path)).map(Addr::Unix),
        None => text.parse().map(Addr::Tcp).map_err(|_| BadValue::NoAddress(text.to_owned())),
    }
}

/// Reads an address that no peer on another host can reach, and that clients can know beforehand.
pub(super) fn local_addr(dir: &Path, text: &str) -> Result<Addr, BadValue> {
    match parse_addr(dir, text)? {
        Addr::Tcp(addr) if !addr.ip().is_loopback() => Err(BadValue::NotLoopback(addr)),
        Addr::Tcp(addr) if addr.port() == 0 => Err(BadValue::NoPort(addr)),
        addr => Ok(addr),
    }
}

fn parse_abstract(name: &str) -> Result<Addr, BadValue> {
    if !cfg!(target_os = "linux") {
        return Err(BadValue::OnlyLinux);
    }
    let good = (1..=ABSTRACT_MAX).contains(&name.len()) && !name.contains('\0');
    good.then(|| Addr::Abstract(name.into())).ok_or(BadValue::AbstractName { most: ABSTRACT_MAX })
}

/// A path at which a Unix socket can be bound.
pub(super) fn socket_path(path: &Path) -> Result<PathBuf, BadValue> {
    let len = path.as_os_str().as_bytes().len();
    if len > SOCKET_PATH_MAX {
        return Err(BadValue::LongPath { path: path.to_path_buf(), len, most: SOCKET_PATH_MAX });
    }
    match path.parent() {
        Some(parent) if parent.is_dir() => Ok(path.to_path_buf()),
        Some(parent) => Err(BadValue::NoDirectory { directory: parent.to_path_buf() }),
        None => Err(BadValue::NoSocketPath(path.to_path_buf())),
    }
}
