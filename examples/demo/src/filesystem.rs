//! The file system that a directory is on: what a durable write costs depends on it.
use std::path::{Path, PathBuf};

/// The type of the file system that `dir` is on, as in `ext4`; `None` where the system does not say.
pub(crate) fn of(dir: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&mounts, &dir.canonicalize().ok()?)
}

/// The file system of the deepest mount point above `dir`, the last one if there are several. `mounts` is as in
/// proc_pid_mountinfo(5).
fn find(mounts: &str, dir: &Path) -> Option<String> {
    let parse = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let point = PathBuf::from(unescape(mount.split(' ').nth(4)?));
        Some((point, source.split(' ').next()?.to_string()))
    };
    let above = mounts.lines().filter_map(parse).filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

/// Space, tab, newline and backslash are written in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_string(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      30 22 0:26 / /tmp rw - tmpfs tmpfs rw\n\
                      31 22 0:27 / /my\\040disk rw master:1 - btrfs /dev/sdb rw\n\
                      32 31 0:28 / /my\\040disk rw - xfs /dev/sdc rw\n";
        let kind = |dir: &str| find(mounts, Path::new(dir)).unwrap();
        assert_eq!(kind("/home/me"), "ext4");
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmpfile"), "ext4");
        assert_eq!(kind("/my disk/data"), "xfs");
    }
}
