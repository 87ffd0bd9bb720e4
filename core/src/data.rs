//! The facts that a supervisor knows of its daemon's data, and the floor that follows from them: a daemon
//! that replaces none is held to what was served last, as a successor is held to what its incumbent has
//! sealed.
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    bounds,
    id::{BootId, DirectoryId, InBoot},
    machine::Reason,
    message::not_behind,
};

impl InBoot<DirectoryId> {
    /// Returns whether both are one directory, as far as can be told: devices have other numbers in every
    /// boot.
    fn is_also(&self, other: &InBoot<DirectoryId>) -> bool {
        let same_boot = self.boot.is_also(other.boot);
        self.value.ino == other.value.ino && (!same_boot || self.value.dev == other.value.dev)
    }
}

/// The data that a daemon serves, or has opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Data {
    /// The directory whose lock the daemon holds; `None` if the system does not tell.
    pub directory: Option<InBoot<DirectoryId>>,
    /// The last revision of each shard, as the daemon has said; `None` if it has not. Of the first
    /// [`bounds::SHARDS`] shards.
    pub revisions: Option<Vec<u64>>,
}

impl Data {
    /// Makes the data in `directory`, in this `boot`, with these `revisions`.
    pub fn opened(boot: BootId, directory: Option<DirectoryId>, revisions: &[u64]) -> Data {
        Data { directory: directory.map(|value| InBoot { boot, value }), revisions: Some(bounded(revisions)) }
    }

    /// The same, after something newer was learned.
    #[must_use]
    pub fn updated(self, newer: Data) -> Data {
        Data { directory: newer.directory.or(self.directory), revisions: newer.revisions.or(self.revisions) }
    }

    /// The same with these revisions.
    #[must_use]
    pub fn at(self, revisions: &[u64]) -> Data {
        Data { revisions: Some(bounded(revisions)), ..self }
    }

    /// Returns why a daemon that replaces none must not serve what it has `opened`, if this is what was
    /// served before.
    pub fn objection(&self, opened: &Data) -> Option<Reason> {
        if let (Some(known), Some(found)) = (&self.directory, &opened.directory)
            && !known.is_also(found)
        {
            return Some(Reason::OtherData { opened: found.value, known: known.value });
        }
        let known = self.revisions.as_deref().unwrap_or_default();
        let found = opened.revisions.as_deref().unwrap_or_default();
        let behind = || Reason::BehindKnown { opened: found.to_vec(), known: known.to_vec() };
        (!not_behind(found, known)).then(behind)
    }
}

fn bounded(revisions: &[u64]) -> Vec<u64> {
    revisions.iter().take(bounds::SHARDS).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: BootId = BootId([1; 16]);
    const NEXT: BootId = BootId([2; 16]);

    fn data(boot: BootId, dev: u64, ino: u64, revisions: &[u64]) -> Data {
        Data::opened(boot, Some(DirectoryId { dev, ino }), revisions)
    }

    #[test]
    fn another_directory_is_refused_whatever_is_in_it() {
        let known = data(FIRST, 1, 7, &[3]);
        assert_eq!(known.objection(&data(FIRST, 1, 7, &[3])), None);
        for other in [data(FIRST, 1, 8, &[9]), data(FIRST, 2, 7, &[9]), data(NEXT, 1, 8, &[9])] {
            assert!(matches!(known.objection(&other), Some(Reason::OtherData { .. })), "{other:?}");
        }
    }

    #[test]
    fn a_device_may_have_another_number_after_a_boot() {
        assert_eq!(data(FIRST, 1, 7, &[3]).objection(&data(NEXT, 2, 7, &[3])), None);
        let unknown = BootId::default();
        assert_eq!(data(unknown, 1, 7, &[]).objection(&data(unknown, 2, 7, &[])), None, "nor is it believed");
    }

    #[test]
    fn what_is_behind_is_refused_and_what_is_not_known_is_not() {
        let known = data(FIRST, 1, 7, &[3, 4]);
        for behind in [&[][..], &[3], &[2, 9]] {
            let objection = known.objection(&data(FIRST, 1, 7, behind));
            assert!(matches!(objection, Some(Reason::BehindKnown { .. })), "{behind:?}");
        }
        assert_eq!(known.objection(&data(FIRST, 1, 7, &[3, 4, 0])), None);
        let untold = Data { directory: None, ..known.clone() };
        assert_eq!(known.objection(&untold), None, "the system does not tell the directory");
        assert_eq!(untold.objection(&known), None);
        assert_eq!(Data::default().objection(&known), None, "nothing was served before");
    }

    #[test]
    fn of_more_shards_than_there_is_room_for_the_first_are_kept() {
        let many = Data::opened(FIRST, None, &alloc::vec![1; bounds::SHARDS + 1]);
        assert_eq!(many.revisions.as_ref().map(Vec::len), Some(bounds::SHARDS));
    }
}
