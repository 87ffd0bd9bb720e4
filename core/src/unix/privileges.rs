//! The things that the file of a program gives to its process beside its bytes: file capabilities, and
//! another user or group.
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The privileges of a program's file. A copy of its bytes has none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The value of `security.capability`, as the kernel has it.
    capabilities: Option<Vec<u8>>,
    /// `true` if the setuid or the setgid bit is set.
    sets_id: bool,
}

impl Privileges {
    /// Those of an open file.
    pub(crate) fn of(file: &File) -> Privileges {
        let sets_id = file.metadata().is_ok_and(|metadata| metadata.mode() & 0o6000 != 0);
        Privileges { capabilities: capabilities(file), sets_id }
    }

    /// Gives them to a copy of the file, as far as this process may: the capabilities only, since a kept copy belongs to the user
    /// of this process. What the copy lacks then, in words.
    pub(crate) fn give_to(&self, copy: &File) -> Option<String> {
        if let Some(capabilities) = self.capabilities.as_ref().filter(|_| Privileges::of(copy) != *self) {
            // Not permitted, or not possible there: what the copy has is looked at afterwards.
            let _ = set_capabilities(copy, capabilities);
        }
        self.that_lacks(copy)
    }

    /// Returns what of them a copy lacks, in words.
    pub(crate) fn that_lacks(&self, copy: &File) -> Option<String> {
        let has_capabilities = self.capabilities == capabilities(copy) && !is_nosuid(copy);
        match (self.capabilities.is_some() && !has_capabilities, self.sets_id) {
            (true, true) => Some("its file capabilities and its setuid or setgid bit".into()),
            (true, false) => Some("its file capabilities".into()),
            (false, true) => Some("its setuid or setgid bit".into()),
            (false, false) => None,
        }
    }
}

/// Returns what a copy of the program at `path` that this user keeps will lack, in words: only root can give
/// file capabilities.
pub fn that_a_copy_will_lack(path: &Path) -> Option<&'static str> {
    let Privileges { capabilities, sets_id } = Privileges::of(&File::open(path).ok()?);
    match (capabilities.is_some() && !nix::unistd::geteuid().is_root(), sets_id) {
        (true, _) => Some("file capabilities"),
        (_, true) => Some("a setuid or setgid bit"),
        _ => None,
    }
}

/// Returns whether what is executed from there gets no privileges of its file.
fn is_nosuid(file: &File) -> bool {
    use nix::sys::statvfs::{FsFlags, fstatvfs};
    fstatvfs(file).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOSUID))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CAPABILITIES: &std::ffi::CStr = c"security.capability";

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn capabilities(file: &File) -> Option<Vec<u8>> {
    use std::os::fd::AsRawFd;
    // The longest of its formats has 24 bytes.
    let mut value = vec![0; 64];
    // SAFETY: the descriptor is open, the name is a C string, and the buffer is as long as is said.
    let length = unsafe {
        nix::libc::fgetxattr(file.as_raw_fd(), CAPABILITIES.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
fn set_capabilities(file: &File, value: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, the name is a C string, and the value is as long as is said.
    let set = unsafe {
        nix::libc::fsetxattr(file.as_raw_fd(), CAPABILITIES.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn capabilities(_file: &File) -> Option<Vec<u8>> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_capabilities(_file: &File, _value: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
