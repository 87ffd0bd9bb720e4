//! Opens files and directories that only root or this process's user can have made, whatever their names.
//!
//! What decides which process writes, which serves or what is executed (the data directory, its record, the journal, a lock's
//! file, the configuration, a binary) is trusted only if no other user than root and this process's own can have put it
//! there or can change it: it is of the expected kind, it and its directory belong to root or to this user, and
//! neither the group nor others may write to either. In a directory in which all users may create files but none may
//! remove those of others (the sticky bit, as in `/tmp`) a file is its owner's alone. A group of which this user is the
//! only member, called as the user is (as many systems give one to each user), counts as this user.
//!
//! Nothing here waits: a FIFO is refused like anything else that is not expected. Directories above the one that a file
//! lies in are not looked at.
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{Gid, Group, Uid, User, geteuid};

pub use crate::distrust::{Distrust, Flaw, Kind};

/// The number of symbolic links that the kernel follows: `path_resolution(7)`.
const LINKS_MAX: usize = 40;

/// Opens a file of this program's own: a journal, a record, a lock's file. A symbolic link in its place is refused.
///
/// # Errors
/// A [`Distrust`], or the system's.
pub fn open_own(path: &Path, writable: bool) -> io::Result<File> {
    check_directory(directory_of(path))?;
    let options = |options: &mut fs::OpenOptions| {
        options.write(writable);
    };
    open_as(path, &Owners::own(), options, Kind::File)
}

/// Opens a file of this program's own, as [`open_own`] does, for reading and writing; creates it, for its owner alone,
/// if it is missing.
///
/// # Errors
/// As [`open_own`].
pub fn open_or_create_own(path: &Path) -> io::Result<File> {
    let options = |options: &mut fs::OpenOptions| {
        options.write(true).create(true).mode(0o600);
    };
    check_directory(directory_of(path))?;
    open_as(path, &Owners::own(), options, Kind::File)
}

/// Opens a file that an operator named: a configuration, a binary. Links lead to it only if they can be trusted
/// themselves.
///
/// # Errors
/// As [`open_own`].
pub fn open_named(path: &Path) -> io::Result<File> {
    open_followed(path, Kind::File)
}

/// Reads a file that an operator named: at most `most` bytes of UTF-8.
///
/// # Errors
/// As [`open_named`]; [`io::ErrorKind::FileTooLarge`] and [`io::ErrorKind::InvalidData`] if the file is longer, or no UTF-8.
pub fn read_named(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    open_named(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")));
    }
    Ok(text)
}

/// Opens a directory that an operator named, and that no other user may open: a user that may open it may lock it.
///
/// # Errors
/// As [`open_own`].
pub(crate) fn open_private_directory(path: &Path) -> io::Result<File> {
    let directory = open_followed(path, Kind::Directory)?;
    check_private(path, &directory.metadata()?)?;
    Ok(directory)
}

/// Opens a file for reading that lies in the data directory of a daemon, which may run as another user than this
/// process. What is in it is a hint.
pub(crate) fn open_hint(path: &Path, owner: u32) -> io::Result<File> {
    open_as(path, &Owners { own: owner }, |_| (), Kind::File)
}

/// Opens a file of a supervisor, which may run as another user than this process, to show what is in it: nothing is decided
/// by that.
///
/// # Errors
/// A [`Distrust`] if the path leads to no regular file, or users other than the file's owner may write to it; else the system's.
pub fn open_to_show(path: &Path) -> io::Result<File> {
    open_hint(path, path.symlink_metadata()?.uid())
}

/// Checks that the binary at `path` can be trusted to be executed, by what can be seen of it.
///
/// # Errors
/// As [`open_named`]. A binary that can't be read is no error: to execute it takes less.
pub fn check_executable(path: &Path) -> io::Result<()> {
    match open_named(path) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        opened => opened.map(drop),
    }
}

/// The sticky bit (`inode(7)`): only the owner of a file may remove it from the directory.
const STICKY: u32 = 0o1000;

/// Checks that no other user can replace or remove a file of this user in the directory `dir`.
///
/// # Errors
/// A [`Distrust`], or the system's.
pub fn check_directory(dir: &Path) -> io::Result<()> {
    let metadata = dir.metadata()?;
    Owners::own().check(dir, &metadata)?;
    let is_sticky = metadata.mode() & STICKY != 0;
    if is_open_to_others(&metadata, 0o2) && !is_sticky {
        let flaw = Flaw::Writable { mode: metadata.mode() & 0o7777, path: shown(dir) };
        return Err(Distrust::new(&shown(dir), flaw).into());
    }
    Ok(())
}

/// Checks that the directory at `dir` can be the data directory of a daemon that runs as the user with the uid `owner`.
///
/// # Errors
/// A [`Distrust`], or the system's.
pub fn check_private_directory(dir: &Path, owner: u32) -> io::Result<()> {
    let metadata = dir.metadata()?;
    if !metadata.is_dir() {
        return Err(Distrust::new(dir, Flaw::Kind(Kind::Directory)).into());
    }
    Owners { own: owner }.check(dir, &metadata)?;
    check_private(dir, &metadata)
}

/// Refuses a directory that others may open.
fn check_private(dir: &Path, metadata: &Metadata) -> io::Result<()> {
    if is_open_to_others(metadata, 0o4) {
        let flaw = Flaw::Readable { mode: metadata.mode() & 0o7777, path: shown(dir) };
        return Err(Distrust::new(&shown(dir), flaw).into());
    }
    Ok(())
}

/// Sets the mode of this process's socket at `path`, without following a link that lies there by now. Returns the socket's
/// device and inode, as [`inode_at`] does.
///
/// # Errors
/// A [`Distrust`], or the system's.
pub fn restrict_socket(path: &Path, mode: u32) -> io::Result<(u64, u64)> {
    give_socket(path, Some(mode), None, None)
}

/// The same with a user and a group that it belongs to from now on.
pub(crate) fn give_socket(
    path: &Path,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<(u64, u64)> {
    let give = |at: &Path| {
        mode.map_or(Ok(()), |mode| fs::set_permissions(at, fs::Permissions::from_mode(mode)))?;
        if uid.is_some() || gid.is_some() { std::os::unix::fs::chown(at, uid, gid) } else { Ok(()) }
    };
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        give(path)?;
        return inode_at(path);
    }
    let found = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let metadata = found.metadata()?;
    if !Kind::Socket.is_that_of(&metadata) {
        return Err(Distrust::new(path, Flaw::Kind(Kind::Socket)).into());
    }
    Owners::own().check(path, &metadata)?;
    give(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())))?;
    Ok(inode_of(&metadata))
}

/// The user that things may belong to, beside root.
struct Owners {
    own: u32,
}

impl Owners {
    fn own() -> Owners {
        Owners { own: geteuid().as_raw() }
    }

    fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
        let (owner, wanted) = (metadata.uid(), self.own);
        if owner == 0 || owner == wanted {
            return Ok(());
        }
        Err(Distrust::new(&shown(path), Flaw::Owner { owner, wanted, path: shown(path) }))
    }
}

/// Opens what is at `path` itself, for reading and whatever `more` adds.
fn open_as(
    path: &Path,
    owners: &Owners,
    more: impl FnOnce(&mut fs::OpenOptions),
    kind: Kind,
) -> io::Result<File> {
    let mut options = File::options();
    more(options.read(true));
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Distrust::new(&shown(path), Flaw::Link).into(),
        // A FIFO without a reader, or a socket.
        Some(libc::ENXIO) => Distrust::new(&shown(path), Flaw::Kind(kind)).into(),
        _ => error,
    })?;
    check_file(path, &file.metadata()?, owners, kind)?;
    Ok(file)
}

fn check_file(path: &Path, metadata: &Metadata, owners: &Owners, kind: Kind) -> Result<(), Distrust> {
    if !kind.is_that_of(metadata) {
        return Err(Distrust::new(&shown(path), Flaw::Kind(kind)));
    }
    owners.check(path, metadata)?;
    if is_open_to_others(metadata, 0o2) {
        let flaw = Flaw::Writable { mode: metadata.mode() & 0o7777, path: shown(path) };
        return Err(Distrust::new(&shown(path), flaw));
    }
    Ok(())
}

/// Opens what `path` leads to, one link after the other.
fn open_followed(path: &Path, kind: Kind) -> io::Result<File> {
    let (owners, mut at) = (Owners::own(), path.to_path_buf());
    for _ in 0..LINKS_MAX {
        check_directory(directory_of(&at))?;
        let metadata = at.symlink_metadata()?;
        if !metadata.is_symlink() {
            return open_as(&at, &owners, |_| (), kind);
        }
        owners.check(&at, &metadata)?;
        at = directory_of(&at).join(fs::read_link(&at)?);
    }
    Err(Distrust::new(path, Flaw::Loop).into())
}

/// The directory that the last name of `path` is looked up in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        // The last name is "..": what it leads to has no name here. And "/" is its own directory.
        _ if path.file_name().is_none() => path,
        Some(parent) => parent,
        None => path,
    }
}

/// Returns whether others than the owner have the permission `bit`.
fn is_open_to_others(metadata: &Metadata, bit: u32) -> bool {
    let group = metadata.mode() & (bit << 3) != 0;
    metadata.mode() & bit != 0 || (group && !is_private(metadata.gid(), metadata.uid()))
}

/// Returns whether the group `gid` is the user `uid` by another name.
fn is_private(gid: u32, uid: u32) -> bool {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let (Some(user), Some(group)) = (user, group) else { return false };
    user.gid == group.gid && user.name == group.name && group.mem.iter().all(|member| *member == user.name)
}

/// Returns `path` as people know it: what is reached by a descriptor has a name of its own.
fn shown(path: &Path) -> PathBuf {
    let by_descriptor = |path: &Path| path.starts_with("/proc/self/fd");
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if by_descriptor(parent) && parent != Path::new("/proc/self/fd") => {
            fs::read_link(parent).map_or_else(|_| path.to_path_buf(), |parent| parent.join(name))
        }
        _ if by_descriptor(path) => fs::read_link(path).unwrap_or_else(|_| path.to_path_buf()),
        _ => path.to_path_buf(),
    }
}

/// The device and the inode of a file, which no other file has as long as this one exists (`inode(7)`).
pub(crate) fn inode_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The device and the inode of what is at `path` itself; a symbolic link is not followed.
///
/// # Errors
/// The system's.
pub fn inode_at(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| inode_of(&metadata))
}

/// Returns whether `path` itself, and not what a symbolic link there leads to, still is `file`.
pub fn is_at(file: &File, path: &Path) -> bool {
    let (here, there) = (file.metadata(), path.symlink_metadata());
    matches!((here, there), (Ok(here), Ok(there)) if inode_of(&here) == inode_of(&there))
}

/// A file that is written beside its place, under a name that no other user can foresee. Dropped, it is removed from there,
/// unless a rename has put it in its place.
#[derive(Debug)]
pub struct Draft {
    /// The file, for reading and writing.
    pub file: File,
    path: PathBuf,
}

/// The end of a draft's name.
const DRAFT: &str = ".new";
/// The number of digits before that.
const DIGITS: usize = 16;

impl Draft {
    /// Creates a draft of the file `place`, at `mode`.
    ///
    /// # Errors
    /// A [`Distrust`] of the directory, or the system's.
    pub fn beside(place: &Path, mode: u32) -> io::Result<Draft> {
        check_directory(directory_of(place))?;
        loop {
            let path = unforeseeable(place)?;
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(mode);
            match options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return Ok(Draft { file: opened?, path }),
            }
        }
    }

    /// Links the draft to `place` (`link(2)`), too.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if something is there, or the system's.
    pub fn link(&self, place: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, place)
    }

    /// Puts the draft in the place of what is at `place`, in one step (`rename(2)`).
    ///
    /// # Errors
    /// The system's.
    pub fn rename(&self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A path beside `place` that no other user can foresee.
fn unforeseeable(place: &Path) -> io::Result<PathBuf> {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{}{DRAFT}", random_name()?));
    Ok(name.into())
}

/// A name that no other user can foresee: 16 hexadecimal digits.
///
/// # Errors
/// `/dev/urandom` can't be read.
pub fn random_name() -> io::Result<String> {
    let mut random = [0; DIGITS / 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// Returns whether `name` is that of a draft of the file called `place`.
pub(crate) fn is_draft_of(name: &[u8], place: &[u8]) -> bool {
    let digits = name.strip_prefix(place).and_then(|rest| rest.strip_prefix(b"."));
    let digits = digits.and_then(|rest| rest.strip_suffix(DRAFT.as_bytes()));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}
