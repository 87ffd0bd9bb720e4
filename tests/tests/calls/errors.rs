//! The errors that each call is made to fail with: those that its man page lists (`man.txt`), unless `not-given.txt` has a reason;
//! and some that other pages list, of sockets (`unix(7)`), of networks (`accept(2)`, in its text) and of file systems.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use handoff_tests::lists;

/// A call, and its errors.
const ERRORS: &[(&str, &[&str])] = &[
    (
        "accept4",
        &[
            "EAGAIN",
            "ECONNABORTED",
            "EINTR",
            "EMFILE",
            "ENETDOWN",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EPERM",
            "EPROTO",
            "ETIMEDOUT",
        ],
    ),
    ("access", &["EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR", "EPERM", "EROFS"]),
    ("bind", &["EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR", "EROFS"]),
    ("chmod", &["EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR", "EPERM", "EROFS"]),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("close_range", &["EMFILE", "ENOMEM"]),
    ("connect", &["EACCES", "EAGAIN", "ECONNREFUSED", "EINTR", "ENOENT", "EPERM", "EPROTOTYPE"]),
    ("copy_file_range", &["EFBIG", "EIO", "ENOMEM", "ENOSPC", "EOPNOTSUPP", "EPERM", "ETXTBSY", "EXDEV"]),
    ("dup2", &["EBUSY", "EINTR", "EMFILE"]),
    ("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_wait", &["EINTR"]),
    ("eventfd2", &["EMFILE", "ENFILE", "ENODEV", "ENOMEM"]),
    (
        "execve",
        &[
            "E2BIG", "EACCES", "EAGAIN", "EIO", "EISDIR", "ELIBBAD", "ELOOP", "EMFILE", "ENFILE", "ENOENT",
            "ENOEXEC", "ENOMEM", "ENOTDIR", "EPERM", "ETXTBSY",
        ],
    ),
    ("fallocate", &["EFBIG", "EINTR", "EIO", "ENOSPC", "ENOSYS", "EOPNOTSUPP", "EPERM"]),
    ("fchmod", &["EIO", "EPERM", "EROFS"]),
    ("fcntl", &["EMFILE"]),
    ("fdatasync", &["EDQUOT", "EINTR", "EIO", "ENOSPC", "EROFS"]),
    ("fgetxattr", &["E2BIG", "EIO", "ENODATA", "EOPNOTSUPP", "ERANGE"]),
    ("flock", &["EAGAIN", "EINTR", "ENOLCK"]),
    ("fstatfs", &["EINTR", "EIO", "ENOMEM", "ENOSYS"]),
    ("fsync", &["EDQUOT", "EINTR", "EIO", "ENOSPC", "EROFS"]),
    ("ftruncate", &["EFBIG", "EINTR", "EIO", "EPERM"]),
    ("getcwd", &["EACCES", "ENOENT", "ENOMEM"]),
    ("getdents64", &["EIO", "ENOENT"]),
    ("getpeername", &["ENOBUFS", "ENOTCONN"]),
    ("getrandom", &["EAGAIN", "EINTR"]),
    ("getsockname", &["ENOBUFS"]),
    ("inotify_add_watch", &["EACCES", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR"]),
    ("inotify_init1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("kill", &["EPERM"]),
    (
        "linkat",
        &[
            "EACCES", "EDQUOT", "EEXIST", "EIO", "ELOOP", "EMLINK", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR",
            "EPERM", "EROFS", "EXDEV",
        ],
    ),
    ("listen", &["EADDRINUSE"]),
    ("newfstatat", &["EACCES", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR"]),
    (
        "openat",
        &[
            "EACCES", "EDQUOT", "EEXIST", "EINTR", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENFILE", "ENOENT",
            "ENOMEM", "ENOSPC", "ENOTDIR", "ENXIO", "EPERM", "EROFS", "ETXTBSY",
        ],
    ),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENODEV", "ENOMEM"]),
    ("pidfd_send_signal", &["EPERM"]),
    ("pipe2", &["EMFILE", "ENFILE"]),
    ("poll", &["EINTR", "EINVAL", "ENOMEM"]),
    ("pread64", &["EINTR", "EIO"]),
    ("pwrite64", &["EDQUOT", "EFBIG", "EINTR", "EIO", "ENOSPC"]),
    ("read", &["EAGAIN", "ECONNRESET", "EINTR", "EIO"]),
    ("readlink", &["EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR"]),
    ("recvfrom", &["EAGAIN", "ECONNRESET", "EINTR", "ENOMEM"]),
    ("recvmsg", &["EAGAIN", "ECONNRESET", "EINTR", "ENOMEM"]),
    (
        "rename",
        &[
            "EACCES", "EBUSY", "EDQUOT", "EIO", "EISDIR", "ELOOP", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR",
            "EPERM", "EROFS", "EXDEV",
        ],
    ),
    ("sendfile", &["EINTR", "EIO", "ENOMEM"]),
    ("sendmsg", &["EAGAIN", "ECONNRESET", "EINTR", "ENOBUFS", "ENOMEM", "EPIPE"]),
    ("sendto", &["EAGAIN", "ECONNRESET", "EINTR", "ENOBUFS", "ENOMEM", "EPIPE"]),
    ("setsid", &["EPERM"]),
    ("shutdown", &["ENOBUFS", "ENOTCONN"]),
    ("socket", &["EACCES", "EAFNOSUPPORT", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]),
    ("socketpair", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("statfs", &["EACCES", "EINTR", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOSYS", "ENOTDIR"]),
    ("statx", &["EACCES", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR"]),
    (
        "unlink",
        &["EACCES", "EBUSY", "EIO", "EISDIR", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR", "EPERM", "EROFS"],
    ),
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
        "access" => *error != "EROFS" || is_of("W_OK"),
        "bind" => *error != "EADDRNOTAVAIL" || is_of("AF_INET"),
        "openat" => may_give_when_opened(error, line),
        "fcntl" => is_of("F_DUPFD"),
        // It waits for nothing then, and nothing else makes it fail.
        "getrandom" => !is_of("GRND_INSECURE") && (*error == "EINTR" || is_of("GRND_NONBLOCK")),
        "flock" => !is_of("LOCK_UN"),
        _ => true,
    };
    of(call).iter().copied().filter(may_give).collect()
}

fn may_give_when_opened(error: &str, line: &str) -> bool {
    match error {
        "EEXIST" => line.contains("O_EXCL"),
        "EDQUOT" | "ENOSPC" => line.contains("O_CREAT"),
        "EISDIR" | "EROFS" | "ETXTBSY" => line.contains("O_WRONLY") || line.contains("O_RDWR"),
        _ => true,
    }
}

/// The entries of a list in this directory, with their reasons.
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

/// The faults of the table of errors: an error that the man page lists is either in the table or in
/// `not-given.txt`, which has nothing else.
pub(crate) fn wrong_with_errors() -> Vec<String> {
    let (pages, not_given) = (man_pages(), listed("not-given.txt"));
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (call, injected) in ERRORS {
        let Some(page) = pages.get(*call) else {
            wrong.push(format!("{call} is not in man.txt"));
            continue;
        };
        for error in page.iter().filter(|error| !injected.contains(&error.as_str())) {
            let names = [format!("{call}/{error}"), format!("*/{error}")];
            match names.into_iter().find(|name| not_given.contains_key(name)) {
                Some(name) => drop(used.insert(name)),
                None => wrong.push(format!("{call} fails with {error}, says its man page: why not here?")),
            }
        }
    }
    let strays = pages.keys().filter(|call| of(call).is_empty());
    wrong.extend(strays.map(|call| format!("{call} is in man.txt, and is not made to fail")));
    let needless = not_given.into_keys().filter(|name| !used.contains(name));
    wrong.extend(needless.map(|name| format!("{name} is needlessly in not-given.txt")));
    wrong
}

/// The errors that each call's man page lists.
fn man_pages() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls/man.txt");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let page = |line: &str| {
        let (head, errors) = line.split_once("): ").unwrap();
        let (call, _) = head.split_once(" (").unwrap();
        (call.to_owned(), errors.split(' ').map(String::from).collect())
    };
    lines.map(page).collect()
}
