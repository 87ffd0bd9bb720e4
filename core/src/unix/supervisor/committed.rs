//! The binary that was committed, as a caller starts it again.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SpawnSpec;
use super::keep::{Executable, Opened, Shelf, identity_at, is_executable, is_kept};
use crate::bounds;
use crate::error::Error;
use crate::id::HandoffId;
use crate::journal::{Binary, FileIdentity, Journal};
use crate::unix::spawn::{RunAs, Setting};
use crate::unix::trusted;

/// A binary that was committed; see [`Supervisor::last_committed`](super::Supervisor::last_committed).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommittedBinary {
    /// The path that it was started from.
    pub binary: PathBuf,
    /// Its arguments after the zeroth.
    pub args: Vec<OsString>,
    /// The directory that it was started in, if that is known.
    pub working_dir: Option<PathBuf>,
    handoff_id: HandoffId,
    identity: Option<FileIdentity>,
    copy: Option<PathBuf>,
    opened: Option<Arc<Opened>>,
}

impl CommittedBinary {
    pub(super) fn new(binary: &Binary, shelf: &Shelf) -> CommittedBinary {
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        CommittedBinary {
            binary: text(&binary.path).into(),
            args: binary.args.iter().map(|arg| text(arg)).collect(),
            working_dir: binary.working_dir.as_ref().map(|dir| text(dir).into()),
            handoff_id: binary.handoff_id,
            identity: binary.identity,
            copy: shelf.copy_of(binary),
            opened: shelf.held(binary.handoff_id),
        }
    }

    /// Returns how to start it again: environment and times are those of `times`, binary, arguments and
    /// directory its own. The file at its path is started as long as it is the one that was committed, and
    /// the kept one otherwise. If there is none, whatever is at the path is started after all, and the log
    /// warns of that.
    pub fn spec(self, times: SpawnSpec) -> SpawnSpec {
        let image = self.image(times.setting.run_as.as_ref().is_none_or(RunAs::is_own));
        // A relative argument leads where it led then, wherever this supervisor was started. If that directory is gone, the
        // daemon is started all the same: it is held to the data that were served.
        let working_dir = self.working_dir.filter(|dir| dir.is_dir()).or(times.setting.working_dir);
        let setting = Setting { working_dir, ..times.setting };
        SpawnSpec { binary: self.binary, args: self.args, image, setting, ..times }
    }

    /// `is_own`: as this process's user, which may execute what this process has open.
    fn image(&self, is_own: bool) -> Option<Image> {
        if self.identity.is_some() && identity_at(&self.binary) == self.identity {
            return None;
        }
        let copy = self.copy.as_ref().filter(|copy| is_kept(copy));
        let opened = self.opened.as_ref().filter(|opened| opened.is_intact() && opened.path().is_some());
        let source = match (copy, opened) {
            (Some(copy), None) => ImageSource::Copy(copy.clone()),
            (Some(copy), Some(opened)) if is_executable(copy) && (!is_own || is_like(copy, opened)) => {
                ImageSource::Copy(copy.clone())
            }
            (_, Some(opened)) => ImageSource::Opened(Arc::clone(opened)),
            (None, None) => {
                let binary = self.binary.display();
                tracing::warn!(
                    target: "handoff.keep",
                    "{binary} is not what was committed: it was changed or removed, and no copy was kept"
                );
                return None;
            }
        };
        let (binary, handoff_id, identity) = (self.binary.clone(), self.handoff_id, self.identity);
        Some(Image { binary, handoff_id, identity, source })
    }
}

/// Returns whether a daemon that is started from the copy gets what the file would give it.
fn is_like(copy: &Path, opened: &Opened) -> bool {
    trusted::open_own(copy, false).is_ok_and(|copy| opened.lacks(&copy).is_none())
}

/// The image that is executed in place of the file at one path; made by [`CommittedBinary::spec`].
#[derive(Clone, Debug)]
pub struct Image {
    /// The path: for another one it means nothing.
    binary: PathBuf,
    handoff_id: HandoffId,
    identity: Option<FileIdentity>,
    source: ImageSource,
}

#[derive(Clone, Debug)]
enum ImageSource {
    Copy(PathBuf),
    Opened(Arc<Opened>),
}

impl Image {
    /// Returns what to execute. `None` only where there is no `/proc` any more.
    fn path(&self) -> Option<PathBuf> {
        match &self.source {
            ImageSource::Copy(path) => Some(path.clone()),
            ImageSource::Opened(opened) => opened.path(),
        }
    }

    /// Returns `error`, with what helps if it is a copy that can't be executed.
    fn explain(&self, error: Error) -> Error {
        match (error, &self.source) {
            (Error::System { context, source }, ImageSource::Copy(copy)) if !is_executable(copy) => {
                let context = format!(
                    "{context}: this copy of {} lies beside the journal, and its filesystem may be mounted noexec: \
                     put the journal where programs can be executed",
                    self.binary.display()
                );
                Error::System { context, source }
            }
            (error, _) => error,
        }
    }
}

impl SpawnSpec {
    fn image(&self) -> Option<&Image> {
        self.image.as_ref().filter(|image| image.binary == self.binary)
    }

    /// Returns what is executed, if not the file at `binary`.
    pub(super) fn image_path(&self) -> Option<PathBuf> {
        self.image().and_then(Image::path)
    }
}

/// The process that a handoff starts.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    spec: &'a SpawnSpec,
    /// The file that is executed, if not the one at `spec.binary`.
    pub(super) image: Option<PathBuf>,
    executable: Executable,
    /// The directory that it starts in, if it can be kept.
    working_dir: Option<PathBuf>,
}

impl<'a> Launch<'a> {
    /// Before it is started.
    pub(super) fn new(spec: &'a SpawnSpec) -> Launch<'a> {
        let image = spec.image_path();
        let executable = match spec.image().map(|image| &image.source) {
            Some(ImageSource::Opened(opened)) => {
                Executable { opened: Some(Arc::clone(opened)), identity: None }
            }
            _ => Executable::at(image.as_deref().unwrap_or(&spec.binary)),
        };
        let working_dir = match &spec.setting.working_dir {
            Some(dir) => std::path::absolute(dir).ok(),
            None => std::env::current_dir().ok(),
        };
        let working_dir = working_dir.filter(|dir| dir.as_os_str().len() <= bounds::PATH);
        Launch { spec, image, executable, working_dir }
    }

    /// `error` of its start, with what helps.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.spec.image() {
            Some(image) => image.explain(error),
            None => error,
        }
    }

    /// The process `pid` was started: what the journal calls it, and its file. One that is known to `knows` keeps
    /// the name of its copy.
    pub(super) fn started(self, pid: u32, id: HandoffId, knows: &Journal) -> (Binary, Option<Arc<Opened>>) {
        let (handoff_id, identity, opened) = match self.spec.image() {
            Some(image) => (image.handoff_id, image.identity, self.executable.opened),
            None => {
                let Executable { opened, identity } = self.executable.started(&self.spec.binary, pid);
                let mut known = knows.committed.iter().chain(&knows.previous);
                let same = known.find(|known| identity.is_some() && known.identity == identity);
                (same.map_or(id, |same| same.handoff_id), identity, opened)
            }
        };
        let bytes = |text: &OsStr| text.as_bytes().to_vec();
        let args = self.spec.args.iter().map(|arg| bytes(arg)).collect();
        let working_dir = self.working_dir.map(|dir| bytes(dir.as_os_str()));
        let path = bytes(self.spec.binary.as_os_str());
        (Binary { handoff_id, path, args, working_dir, identity }, opened)
    }
}
