//! The few system calls for which there is no safe function: all that the tests with real processes need of them.
#![allow(unsafe_code, reason = "fork(2), a descriptor that has come, two calls of filesystems")]
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, fork};

/// `fork(2)`, in a process that has one thread: the child's pid; `None` in the child.
///
/// # Errors
/// The system's; and if there is another thread, whose locks the child would find taken for ever.
pub fn fork_alone() -> io::Result<Option<u32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has more than one thread"));
    }
    // SAFETY: there is no other thread, so the child may do all that its parent may.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child.as_raw().cast_unsigned())),
    }
}

/// The descriptor that comes beside the next byte (`SCM_RIGHTS`, `unix(7)`), close-on-exec.
///
/// # Errors
/// The system's; and if none came.
pub fn receive_descriptor(stream: &UnixStream) -> io::Result<OwnedFd> {
    let (_, mut fds) = receive(stream, &mut [0])?;
    fds.pop().filter(|_| fds.is_empty()).ok_or_else(|| io::Error::other("no descriptor came"))
}

/// Receives into `bytes`: how many came, and the descriptors beside them, three at most, close-on-exec.
///
/// # Errors
/// The system's.
pub fn receive(socket: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = cmsg_space!([i32; 3]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for beside in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(came) = beside {
            // SAFETY: recvmsg has just opened them for this process, and no other code knows them.
            fds.extend(came.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, fds))
}

/// The way in which a filesystem is cut off: `EXT4_IOC_SHUTDOWN`'s flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All that was written is written back before.
    Orderly = 0,
    /// The filesystem's journal is: names, sizes, and the data that they need.
    JournalFlushed = 1,
    /// Nothing is: as when power fails.
    AtOnce = 2,
}

/// Writes back the first `bytes` of a file, and nothing else of it (`sync_file_range(2)`): the kernel may do so at any time.
///
/// # Errors
/// The system's.
pub fn write_back(file: &File, bytes: usize) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: it takes plain numbers, and the descriptor is open.
    Errno::result(unsafe { libc::sync_file_range(file.as_raw_fd(), 0, length, flags) })?;
    Ok(())
}

nix::ioctl_read!(
    /// `_IOR('X', 125, __u32)`, in `linux/ext4.h`.
    ext4_shutdown, b'X', 125, u32);

/// Cuts off the ext4 filesystem on which `file` lies: nothing reaches the device from here on. It can only be unmounted.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; `ENOTTY` on another filesystem.
pub fn cut_off(file: &File, how: Cut) -> io::Result<()> {
    let mut flags = how as u32;
    // SAFETY: the call reads a u32 from there, as its number says, and the descriptor is open.
    unsafe { ext4_shutdown(file.as_raw_fd(), &raw mut flags) }?;
    Ok(())
}
