//! Opens listeners.
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, bind as bind_to, getsockopt, setsockopt,
    sockopt,
};

use crate::error::{Error, Result};
use crate::unix::bind::{check_path, listen_socket, listen_unix, stream_socket};
use crate::unix::context::Context;
use crate::unix::trusted;

/// The way in which a listener is opened. By default as the system's settings and the umask say; set what is
/// to differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindOptions {
    /// `true` if an IPv6 socket is to take IPv6 connections only (`IPV6_V6ONLY` of `ipv6(7)`).
    pub only_v6: Option<bool>,
    /// The permission bits of a Unix socket that has a path: a user that may write to it may connect (`unix(7)`).
    pub mode: Option<u32>,
    /// The uid of the user that a Unix socket with a path belongs to; only root can give it away.
    pub uid: Option<u32>,
    /// The gid of the group that a Unix socket with a path belongs to.
    pub gid: Option<u32>,
}

/// Opens a listener: `127.0.0.1:6379`, `[::]:80`, `unix:/path` or, where the system has such names, `unix:@name`. It is
/// non-blocking and close-on-exec. A Unix socket gets its mode from the umask, as any daemon's does; one that is there
/// already is replaced if no process answers at it.
///
/// # Errors
/// [`Error::Caller`] for an address of another form, [`Error::System`] if it can't be bound.
pub fn bind(addr: &str) -> Result<OwnedFd> {
    bind_with(addr, &BindOptions::default())
}

/// Opens a listener as [`bind`] does, with `options`. No client can connect before they are in force.
///
/// # Errors
/// As [`bind`]; [`Error::Caller`] for an option that the address can't have, [`Error::System`] for one that is refused.
pub fn bind_with(addr: &str, options: &BindOptions) -> Result<OwnedFd> {
    let BindOptions { only_v6, mode, uid, gid } = *options;
    let is_access_given = mode.is_some() || uid.is_some() || gid.is_some();
    let listener = match addr.strip_prefix("unix:") {
        Some("" | "@") => {
            return Err(Error::Caller("\"unix:\" lacks a path, as in unix:/run/daemon.sock".into()));
        }
        Some(_) if only_v6.is_some() => return Err(Error::Caller(format!("{addr} is no IPv6 address"))),
        Some(path) if !path.starts_with('@') => {
            let give = || {
                if !is_access_given {
                    return Ok(());
                }
                let given = trusted::give_socket(Path::new(path), mode, uid, gid);
                given.map(drop).context(|| format!("can't set the mode and the owner of {path}"))
            };
            return listen_unix(Path::new(path), give).map(|(listener, ())| listener);
        }
        _ if is_access_given => {
            return Err(Error::Caller(format!("{addr} has no path, and so neither a mode nor an owner")));
        }
        Some(name) => bind_abstract(&name[1..])?,
        None => bind_tcp(addr, only_v6)?,
    };
    listen_socket(&listener).context(|| format!("can't listen at {addr}"))?;
    Ok(listener)
}

/// Returns how `listener`, which is open at `addr`, differs from what [`bind_with`] would open there with
/// `options`, in words with what helps; empty if it doesn't.
pub fn differences(listener: &impl AsFd, addr: &str, options: &BindOptions) -> Vec<String> {
    let mut found = Vec::new();
    let is_v6_only = getsockopt(listener, sockopt::Ipv6V6Only).ok();
    if options.only_v6.is_some_and(|wanted| is_v6_only.is_some_and(|is| is != wanted)) {
        found.push("only_v6 takes effect when it is opened: stop the daemon, and start it again".into());
    }
    let path = addr.strip_prefix("unix:").filter(|path| !path.starts_with('@'));
    let Some((path, is)) = path.and_then(|path| Some((path, Path::new(path).symlink_metadata().ok()?)))
    else {
        return found;
    };
    if let Some(mode) = options.mode.filter(|mode| *mode != is.mode() & 0o7777) {
        found.push(format!("its mode is {:04o}: chmod {mode:04o} {path}", is.mode() & 0o7777));
    }
    if let Some(uid) = options.uid.filter(|uid| *uid != is.uid()) {
        found.push(format!("it belongs to uid {}: chown {uid} {path}", is.uid()));
    }
    if let Some(gid) = options.gid.filter(|gid| *gid != is.gid()) {
        found.push(format!("it belongs to gid {}: chgrp {gid} {path}", is.gid()));
    }
    found
}

fn bind_tcp(addr: &str, only_v6: Option<bool>) -> Result<OwnedFd> {
    let address: SocketAddr = addr.parse().map_err(|_| {
        Error::Caller(format!(
            "{addr:?} is no address: expected 127.0.0.1:6379, [::]:6379, unix:/path or unix:@name"
        ))
    })?;
    let bind_in = |family, address: &dyn SockaddrLike| {
        let socket = stream_socket(family)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        if let Some(only_v6) = only_v6 {
            setsockopt(&socket, sockopt::Ipv6V6Only, &only_v6)?;
        }
        bind_to(socket.as_raw_fd(), address)?;
        Ok::<_, Errno>(socket)
    };
    let bound = match address {
        SocketAddr::V4(_) if only_v6.is_some() => {
            return Err(Error::Caller(format!("{addr} is no IPv6 address")));
        }
        SocketAddr::V4(address) => bind_in(AddressFamily::Inet, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind_in(AddressFamily::Inet6, &SockaddrIn6::from(address)),
    };
    bound.context(|| format!("can't bind {addr}"))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_abstract(name: &str) -> Result<OwnedFd> {
    check_path(Path::new(name), 0)?;
    let bound = stream_socket(AddressFamily::Unix).and_then(|socket| {
        bind_to(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(socket)
    });
    bound.context(|| format!("can't bind unix:@{name}"))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_abstract(name: &str) -> Result<OwnedFd> {
    Err(Error::Caller(format!("unix:@{name}: this system has no abstract names, only paths")))
}
