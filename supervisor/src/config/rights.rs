//! The rights of another user to a path, by the modes on the way. Access control lists are not read: where
//! one could decide otherwise, the answer is that it is not known.
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use handoff::RunAs;

/// The right of a user to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    Given,
    Refused,
    /// The group may, of which the user is no member as far as can be told.
    Unknown,
}

/// Returns whether `run_as` has the rights `wanted` (of `rwx`, in one octal digit) to what is at `path`, and
/// may pass every directory on the way; and where it fails. What is not there refuses nothing.
pub(super) fn rights(run_as: &RunAs, path: &Path, wanted: u32) -> (Rights, PathBuf) {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let way = real.ancestors().skip(1).map(|dir| (dir, 0o1));
    let mut unknown = None;
    for (at, wanted) in way.collect::<Vec<_>>().into_iter().rev().chain([(real.as_path(), wanted)]) {
        let Ok(metadata) = at.metadata() else { break };
        let shown = || if at == real { path.to_path_buf() } else { at.to_path_buf() };
        match rights_to(run_as, &metadata, wanted) {
            Rights::Given => {}
            Rights::Refused => return (Rights::Refused, shown()),
            Rights::Unknown => unknown = unknown.or_else(|| Some(shown())),
        }
    }
    match unknown {
        Some(at) => (Rights::Unknown, at),
        None => (Rights::Given, path.to_path_buf()),
    }
}

fn rights_to(run_as: &RunAs, metadata: &Metadata, wanted: u32) -> Rights {
    let has = |shift: u32| (metadata.mode() >> shift) & wanted == wanted;
    let is_member = run_as.gid == metadata.gid() || run_as.groups.contains(&metadata.gid());
    let given = |given: bool| if given { Rights::Given } else { Rights::Refused };
    match () {
        // Root passes everywhere, but executes only what some user may execute.
        () if run_as.uid == 0 => {
            given(metadata.is_dir() || wanted & 0o1 == 0 || metadata.mode() & 0o111 != 0)
        }
        () if run_as.uid == metadata.uid() => given(has(6)),
        () if is_member => given(has(3)),
        () if has(0) => Rights::Given,
        // The bits of the group bound what an access control list gives to a user.
        () => {
            if has(3) {
                Rights::Unknown
            } else {
                Rights::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_modes_on_the_way_and_at_the_end_count() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("a"), dir.path().join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        set(dir.path(), 0o755);
        let other = RunAs::find(Some("65533"), Some("65533")).unwrap();
        let cases = [
            (0o755, 0o777, Rights::Given, &inner),
            (0o711, 0o755, Rights::Refused, &inner),
            (0o700, 0o777, Rights::Refused, &outer),
            (0o755, 0o770, Rights::Unknown, &inner),
        ];
        for (outer_mode, inner_mode, expected, at) in cases {
            set(&inner, inner_mode);
            set(&outer, outer_mode);
            assert_eq!(rights(&other, &inner, 0o3), (expected, at.clone()), "{outer_mode:o} {inner_mode:o}");
            set(&outer, 0o755);
        }
        let root = RunAs::find(Some("root"), None).unwrap();
        set(&inner, 0o000);
        assert_eq!(rights(&root, &inner, 0o7).0, Rights::Given);
        assert_eq!(
            rights(&other, &inner.join("missing"), 0o1).0,
            Rights::Refused,
            "the directory is not passed"
        );
    }
}
