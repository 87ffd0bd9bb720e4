//! The real arm of power failures: ext4 on a loop device, cut off with `EXT4_IOC_SHUTDOWN`, and mounted again.
//!
//! Needs root. Everything is mounted in a mount namespace of one thread: no other thread sees it, and when the thread ends, be
//! it killed, its mounts and their loop devices are gone.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use handoff_tests::raw::{Cut, cut_off, write_back};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::disk::{DiskStep, LENGTH, PAGE, words};

/// Returns what is left after `steps`, for each way in which power may fail. Nothing, and a loud word, where
/// it can't be staged.
pub(crate) fn left_by(steps: &'static [DiskStep]) -> Vec<(Cut, String)> {
    let stage = move || {
        let dir = tempfile::tempdir()?;
        enter_own_namespace()?;
        make_filesystem(dir.path())?;
        // If it can be done once, anything that fails later is a failure.
        cut_off(&File::open(&Mounted::new(dir.path())?.0)?, Cut::Orderly)?;
        let cuts = [Cut::AtOnce, Cut::JournalFlushed, Cut::Orderly];
        Ok(cuts.map(|cut| (cut, left_by_cut(dir.path(), steps, cut).unwrap())).to_vec())
    };
    let staged: io::Result<Vec<(Cut, String)>> = std::thread::spawn(stage).join().unwrap();
    staged.unwrap_or_else(|error| {
        // Not through eprintln, which is heard only when a test fails.
        let name = std::thread::current().name().unwrap_or_default().to_string();
        let _ =
            writeln!(io::stderr(), "SKIPPED, the real arm of {name}: can't stage a power failure: {error}");
        Vec::new()
    })
}

fn enter_own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

fn make_filesystem(dir: &Path) -> io::Result<()> {
    let image = dir.join("image");
    File::create(&image)?.set_len(16 << 20)?;
    fs::create_dir(dir.join("mnt"))?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(&image))
}

fn left_by_cut(dir: &Path, steps: &[DiskStep], cut: Cut) -> io::Result<String> {
    let mounted = Mounted::new(dir)?;
    let work = mounted.0.join(format!("{cut:?}"));
    fs::create_dir(&work)?;
    File::open(&mounted.0)?.sync_all()?;
    for step in steps {
        take(&work, *step)?;
    }
    cut_off(&File::open(&work)?, cut)?;
    drop(mounted);
    let mounted = Mounted::new(dir)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(mounted.0.join(format!("{cut:?}")))? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(words(&files))
}

fn take(dir: &Path, step: DiskStep) -> io::Result<()> {
    let block = |letter: char| [letter as u8; LENGTH];
    let open = |name: &str| File::options().read(true).write(true).open(dir.join(name));
    match step {
        DiskStep::Append(name, letter) => {
            let mut file = File::options().append(true).create(true).open(dir.join(name))?;
            // Page by page, so that the page cache has them one by one, and a later write can be written back in part.
            block(letter).chunks(PAGE).try_for_each(|page| file.write_all(page))
        }
        DiskStep::Overwrite(name, letter) => open(name)?.write_all_at(&block(letter), 0),
        DiskStep::WriteBack(name) => write_back(&open(name)?, PAGE),
        DiskStep::Empty(name) => open(name)?.set_len(0),
        DiskStep::Sync(name) => open(name)?.sync_all(),
        DiskStep::SyncDir => File::open(dir)?.sync_all(),
        DiskStep::Rename(from, to) => fs::rename(dir.join(from), dir.join(to)),
        DiskStep::Remove(name) => fs::remove_file(dir.join(name)),
    }
}

/// The filesystem, mounted.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(dir: &Path) -> io::Result<Mounted> {
        let place = dir.join("mnt");
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(dir.join("image")).arg(&place))?;
        Ok(Mounted(place))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A child that another test forks has our descriptors until it has executed: try again. A loop device that was
        // set up by mount(8) goes with its mount.
        let mut tries = (0..500).map(|_| run(Command::new("umount").arg(&self.0)));
        if !tries.any(|tried| tried.inspect_err(|_| sleep(Duration::from_millis(10))).is_ok()) {
            let _ = writeln!(io::stderr(), "{} can't be unmounted", self.0.display());
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
