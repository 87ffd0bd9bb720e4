//! What to start a daemon from, and how to start the very same program again later.
//!
//! Operators install a new build over the old one's path, and a crash must bring back what was committed, not
//! what lies there by now. So the file is kept open from before its start; while the path still leads to it the
//! path is used, and afterwards the open descriptor. Only who writes into the very file while nobody runs it (the
//! kernel forbids it otherwise) gets what he wrote.
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handoff::SpawnSpec;

use crate::config::{Config, executable};
use crate::exit::{Code, Failure};

/// A program with everything that it is started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    spec: SpawnSpec,
    /// `None` if it may be executed but not read: then there is the path alone.
    file: Option<Arc<File>>,
}

impl Launch {
    /// The program at `binary`, started as `config` says.
    ///
    /// # Errors
    /// [`Code::NoBinary`] if it can't be executed.
    pub(crate) fn new(config: &Config, binary: &Path) -> Result<Launch, Failure> {
        executable(binary).map_err(|message| Failure::new(Code::NoBinary, message))?;
        let file = File::open(binary).ok().map(Arc::new);
        Ok(Launch { spec: config.spawn_spec(binary), file })
    }

    /// The path that the configuration names.
    pub(crate) fn binary(&self) -> &Path {
        &self.spec.binary
    }

    /// How to start this very program now.
    pub(crate) fn spec(&self) -> SpawnSpec {
        let binary = self.kept().unwrap_or_else(|| self.spec.binary.clone());
        SpawnSpec { binary, ..self.spec.clone() }
    }

    /// Another path to the program, if its own leads elsewhere by now. It goes through this process, not through
    /// `self`: the child's descriptors are being rearranged when it is looked up.
    fn kept(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd;

        let file = self.file.as_ref()?;
        let opened = file.metadata().ok()?;
        let unchanged = self.spec.binary.metadata().is_ok_and(|found| same_file(&found, &opened));
        let kept = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        (!unchanged && kept.exists()).then_some(kept)
    }
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::tests::Dir;

    fn install(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn what_was_committed_is_found_again_after_another_build_was_installed_over_it() {
        let dir = Dir::new();
        let binary = dir.path().join("daemon");
        install(&binary, "old");
        let launch = Launch::new(&dir.load("").unwrap(), &binary).unwrap();
        assert_eq!(launch.spec().binary, binary, "as long as it is there, its path is used");

        install(&binary, "new");
        assert_eq!(fs::read_to_string(launch.spec().binary).unwrap(), "old");
        assert_eq!(launch.binary(), binary, "people are shown the path that they know");

        fs::remove_file(&binary).unwrap();
        assert_eq!(fs::read_to_string(launch.spec().binary).unwrap(), "old");
    }

    #[test]
    fn what_can_not_be_executed_is_refused_before_anything_is_touched() {
        let dir = Dir::new();
        let config = dir.load("").unwrap();
        for (name, why) in [("missing", "No such file"), ("", "not a file")] {
            let failure = Launch::new(&config, &dir.path().join(name)).unwrap_err();
            assert_eq!(failure.code, Code::NoBinary);
            assert!(failure.message.contains(why), "{failure}");
        }
    }
}
