//! Descriptors that travel beside bytes over a Unix socket (`SCM_RIGHTS`, `unix(7)`).
//!
//! By hand, since `nix` gives no access to what came when something was cut off: it would stay open.
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::unix::again::uninterrupted;

/// So many may travel together: Linux allows 253, others less than that but more than this.
pub(crate) const MOST: usize = 200;

/// Room for as many as any peer can send at once, in `u64`s, so that it is aligned.
const ROOM: usize = nix::sys::socket::cmsg_space::<[RawFd; 256]>().div_ceil(mem::size_of::<u64>());

#[cfg(not(target_vendor = "apple"))]
const SEND: MsgFlags = MsgFlags::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: MsgFlags = MsgFlags::empty();

#[cfg(not(target_vendor = "apple"))]
const RECEIVE: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const RECEIVE: libc::c_int = 0;

/// Sends some of `bytes`, and all of `fds` with the first of them. Returns how many bytes: at least one.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], fds: &[impl AsFd]) -> io::Result<usize> {
    let fds: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
    let beside = [ControlMessage::ScmRights(&fds)];
    uninterrupted(|| Ok(sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &beside, SEND, None)?))
}

/// Receives into `bytes`: how many, and the descriptors that came beside them, close-on-exec.
///
/// # Errors
/// The system's; and if some descriptors were lost on the way. The others are closed then.
#[allow(unsafe_code)]
pub(crate) fn receive(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = [0_u64; ROOM];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr is numbers and pointers, which all may be zero.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&room) as _;
    // SAFETY: the header points to `part` and `room`, and that to `bytes`; all outlive the call, with their lengths.
    let received =
        || Ok(Errno::result(unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, RECEIVE) })?);
    let count = uninterrupted(received)?;
    // SAFETY: recvmsg has succeeded on this header, and it is taken from only here.
    let fds = unsafe { take(&header) };
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other(
            "descriptors were lost on the way: this process may have too many open (RLIMIT_NOFILE)",
        ));
    }
    #[cfg(target_vendor = "apple")]
    for fd in &fds {
        crate::unix::bind::set_close_on_exec(fd)?;
    }
    Ok((count.unsigned_abs(), fds))
}

/// Takes the descriptors that came.
///
/// # Safety
/// `header` is as a `recvmsg(2)` that succeeded has left it, and no other code takes its descriptors.
#[allow(unsafe_code)]
unsafe fn take(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled `msg_control` and set its length; the macros stay within it.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null at the end; else it points to a whole entry in the aligned room.
    while let Some(entry) = unsafe { at.as_ref() } {
        if (entry.cmsg_level, entry.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: these two compute, from the entry's place and from nothing.
            let (data, head) = unsafe { (libc::CMSG_DATA(at).cast::<RawFd>(), libc::CMSG_LEN(0)) };
            #[allow(clippy::unnecessary_cast, reason = "it is a socklen_t elsewhere")]
            let count = (entry.cmsg_len as usize - head as usize) / mem::size_of::<RawFd>();
            // SAFETY: the entry says that `count` descriptors follow; they are open, and ours since this call.
            fds.extend((0..count).map(|nth| unsafe { OwnedFd::from_raw_fd(data.add(nth).read_unaligned()) }));
        }
        // SAFETY: as for the first.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    fds
}
