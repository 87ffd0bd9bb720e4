//! The errors that each call is made to fail with: those that its man page lists and that the kernel may give
//! in this use. Left out are mistakes of the caller (EBADF, EFAULT, EINVAL and the like), and answers that
//! say of another process that it is gone.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use handoff_tests::lists;

/// A call, and its errors.
const ERRORS: &[(&str, &[&str])] = &[
    ("accept4", &["EAGAIN", "ECONNABORTED", "EINTR", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"]),
    ("access", &["EACCES", "EIO", "ENOENT", "ENOMEM"]),
    ("bind", &["EACCES", "EADDRINUSE", "ENOENT", "ENOMEM", "EROFS"]),
    ("chmod", &["EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS"]),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("close_range", &["EMFILE", "ENOMEM"]),
    ("connect", &["EACCES", "EAGAIN", "ECONNREFUSED", "EINTR", "ENOENT"]),
    ("copy_file_range", &["EIO", "ENOMEM", "ENOSPC", "EXDEV"]),
    ("dup2", &["EBUSY", "EINTR", "EMFILE"]),
    ("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_wait", &["EINTR"]),
    ("eventfd2", &["EMFILE", "ENFILE", "ENODEV", "ENOMEM"]),
    ("execve", &["E2BIG", "EACCES", "EIO", "EMFILE", "ENFILE", "ENOENT", "ENOEXEC", "ENOMEM", "ETXTBSY"]),
    ("fallocate", &["EINTR", "EIO", "ENOSPC", "EOPNOTSUPP"]),
    ("fchmod", &["EIO", "EPERM", "EROFS"]),
    ("fcntl", &["EMFILE"]),
    ("fdatasync", &["EDQUOT", "EINTR", "EIO", "ENOSPC"]),
    ("fgetxattr", &["EIO", "EOPNOTSUPP"]),
    ("flock", &["EAGAIN", "EINTR", "ENOLCK"]),
    ("fstatfs", &["EINTR", "EIO", "ENOMEM", "ENOSYS"]),
    ("fsync", &["EDQUOT", "EINTR", "EIO", "ENOSPC"]),
    ("ftruncate", &["EFBIG", "EINTR", "EIO", "EPERM"]),
    ("getcwd", &["EACCES", "ENOENT", "ENOMEM"]),
    ("getdents64", &["EIO", "ENOENT"]),
    ("getpeername", &["ENOBUFS", "ENOTCONN"]),
    ("getrandom", &["EAGAIN", "EINTR"]),
    ("getsockname", &["ENOBUFS"]),
    ("inotify_add_watch", &["EACCES", "ENOENT", "ENOMEM", "ENOSPC"]),
    ("inotify_init1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("kill", &["EPERM"]),
    ("linkat", &["EACCES", "EDQUOT", "EEXIST", "EIO", "EMLINK", "ENOENT", "ENOMEM", "ENOSPC", "EROFS"]),
    ("listen", &["EADDRINUSE"]),
    ("newfstatat", &["EACCES", "ENOENT", "ENOMEM"]),
    ("openat", &["EACCES", "EINTR", "EIO", "EMFILE", "ENFILE", "ENOENT", "ENOMEM", "ENOSPC", "EROFS"]),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENODEV", "ENOMEM"]),
    ("pidfd_send_signal", &["EPERM"]),
    ("pipe2", &["EMFILE", "ENFILE"]),
    ("poll", &["EINTR", "EINVAL", "ENOMEM"]),
    ("pread64", &["EINTR", "EIO"]),
    ("pwrite64", &["EDQUOT", "EFBIG", "EINTR", "EIO", "ENOSPC"]),
    ("read", &["EAGAIN", "ECONNRESET", "EINTR", "EIO"]),
    ("readlink", &["EACCES", "EIO", "ENOENT", "ENOMEM"]),
    ("recvfrom", &["EAGAIN", "ECONNRESET", "EINTR", "ENOMEM"]),
    ("recvmsg", &["EAGAIN", "ECONNRESET", "EINTR", "ENOMEM"]),
    ("rename", &["EACCES", "EBUSY", "EDQUOT", "EIO", "ENOENT", "ENOMEM", "ENOSPC", "EROFS"]),
    ("sendfile", &["EINTR", "EIO", "ENOMEM"]),
    ("sendmsg", &["EAGAIN", "ECONNRESET", "EINTR", "ENOBUFS", "ENOMEM", "EPIPE"]),
    ("sendto", &["EAGAIN", "ECONNRESET", "EINTR", "ENOBUFS", "ENOMEM", "EPIPE"]),
    ("setsid", &["EPERM"]),
    ("shutdown", &["ENOBUFS", "ENOTCONN"]),
    ("socket", &["EACCES", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]),
    ("socketpair", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("statfs", &["EACCES", "EINTR", "EIO", "ENOMEM"]),
    ("statx", &["EACCES", "ENOENT", "ENOMEM"]),
    ("unlink", &["EACCES", "EBUSY", "EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS"]),
    ("waitid", &["EINTR"]),
    ("write", &["EAGAIN", "EDQUOT", "EFBIG", "EINTR", "EIO", "ENOSPC", "EPIPE"]),
    ("writev", &["EAGAIN", "EDQUOT", "EFBIG", "EINTR", "EIO", "ENOSPC", "EPIPE"]),
];

/// The errors of `call`.
fn of(call: &str) -> &'static [&'static str] {
    ERRORS.iter().find(|(name, _)| *name == call).map_or(&[], |(_, errors)| errors)
}

/// Errors that only a transfer to or from a file meets, and those that none of them meets.
const OF_FILES: [&str; 4] = ["EDQUOT", "EFBIG", "EIO", "ENOSPC"];
const NOT_OF_FILES: [&str; 3] = ["EAGAIN", "ECONNRESET", "EPIPE"];

/// The errors that the call which strace has written as `line` may give: it depends on what the descriptor is of.
pub(crate) fn possible(call: &str, line: &str) -> Vec<&'static str> {
    let is_of = |what: &str| line.contains(what);
    let may_give = |error: &&'static str| match call {
        // What is full is being read, and nothing else makes this fail.
        "read" | "write" if is_of("<anon_inode:[eventfd]>") => call == "read" && *error == "EAGAIN",
        "read" | "write" if is_of("<socket:[") || is_of("<pipe:[") => !OF_FILES.contains(error),
        "read" | "write" => !NOT_OF_FILES.contains(error),
        "fcntl" => is_of("F_DUPFD"),
        // It waits for nothing then, and nothing else makes it fail.
        "getrandom" => !is_of("GRND_INSECURE") && (*error == "EINTR" || is_of("GRND_NONBLOCK")),
        "flock" => !is_of("LOCK_UN"),
        _ => true,
    };
    of(call).iter().copied().filter(may_give).collect()
}

/// Returns what a list in this directory names, and why.
pub(crate) fn listed(file: &str) -> BTreeMap<String, String> {
    lists::listed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls").join(file))
}

/// Calls that were `seen`, and are in no list or in both; what is listed, and was never seen, is not wrong: other machines and
/// other versions of libc make other calls.
pub(crate) fn wrong_with_lists(seen: &BTreeSet<&str>) -> Vec<String> {
    let left_out = listed("not-injected.txt");
    let wrong = |call: &&&str| of(call).is_empty() != left_out.contains_key(**call);
    seen.iter()
        .filter(wrong)
        .map(|call| format!("{call} has neither errors nor a reason for that, or both"))
        .collect()
}
