//! The filesystem that a directory lies on: fsync is free on some filesystems.
use std::fs;
use std::path::Path;

/// The type and device of the filesystem of `dir`, as `proc_mounts(5)` has them.
pub(crate) fn describe(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    find(&mounts, &dir).unwrap_or_else(|| "an unknown filesystem".into())
}

/// The deepest mount point counts, of several there the last.
fn find(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, Path::new(words.next()?), words.next()?))
    });
    let (device, _, kind) = mounts
        .filter(|(_, point, _)| dir.starts_with(point))
        .max_by_key(|(_, point, _)| point.components().count())?;
    Some(format!("{kind} ({device})"))
}
