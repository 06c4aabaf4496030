//! uids for workers: each tenant gets one from a range. A uid is only reused when no process has it any more.
//! A restarted tenant gets its last uid again if possible; other tenants get it only when the range is used
//! up.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;

/// The available uids.
#[derive(Debug)]
pub struct Uids {
    /// Never assigned so far.
    fresh: RangeInclusive<u32>,
    /// uids of the range that other processes had when the service started.
    foreign: HashSet<u32>,
    /// Returned uids, oldest first: the older, the more likely it is that no process has it.
    returned: VecDeque<u32>,
}

impl Uids {
    /// The uids of `range`, without those in `used`.
    #[must_use]
    pub fn new(range: RangeInclusive<u32>, used: impl IntoIterator<Item = u32>) -> Self {
        let foreign = used.into_iter().filter(|uid| range.contains(uid)).collect();
        Uids { fresh: range, foreign, returned: VecDeque::new() }
    }

    /// Takes a uid that no process has, `last` if possible; `None` if there is none. `used` returns the uids
    /// in use. It is only called for returned uids, because it inspects every process.
    pub fn take(&mut self, last: Option<u32>, used: impl Fn() -> Vec<u32>) -> Option<u32> {
        let again =
            last.and_then(|last| self.returned.iter().position(|uid| *uid == last && !used().contains(uid)));
        if let Some(place) = again {
            return self.returned.remove(place);
        }
        for uid in self.fresh.by_ref() {
            if !self.foreign.contains(&uid) {
                return Some(uid);
            }
            self.returned.push_back(uid);
        }
        let used = used();
        let place = self.returned.iter().position(|uid| !used.contains(uid))?;
        self.returned.remove(place)
    }

    /// Returns a uid.
    pub fn give_back(&mut self, uid: u32) {
        self.returned.push_back(uid);
    }
}

/// The uids of all processes: the owners of their directories in procfs. Those of non-dumpable processes
/// belong to root, so their status is read.
#[must_use]
pub fn in_use() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let processes =
        entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    processes
        .filter_map(|entry| match entry.metadata().ok()?.uid() {
            0 => uid_of_status(&fs::read_to_string(entry.path().join("status")).ok()?),
            uid => Some(uid),
        })
        .collect()
}

fn uid_of_status(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_assigned_once_until_it_is_returned() {
        let mut uids = Uids::new(10..=12, [3, 11]);
        let mut take = || uids.take(None, || vec![11]);
        assert_eq!((take(), take(), take()), (Some(10), Some(12), None));
        uids.give_back(12);
        uids.give_back(10);
        assert_eq!(uids.take(None, Vec::new), Some(11), "no process has it any more");
        assert_eq!(uids.take(None, || vec![12]), Some(10), "the other one is in use");
        assert_eq!(uids.take(None, Vec::new), Some(12));
        assert_eq!(uids.take(None, Vec::new), None);
    }

    #[test]
    fn a_restarted_tenant_gets_its_last_uid_unless_it_is_in_use() {
        let mut uids = Uids::new(10..=20, []);
        let none = || unreachable!("fresh uids are not checked");
        assert_eq!((uids.take(None, none), uids.take(Some(99), none)), (Some(10), Some(11)));
        uids.give_back(10);
        uids.give_back(11);
        assert_eq!(uids.take(Some(11), Vec::new), Some(11), "even though another one was returned earlier");
        assert_eq!(uids.take(Some(11), none), Some(12), "another tenant has it");
        assert_eq!(uids.take(Some(10), || vec![10]), Some(13), "a process still has it");
    }

    #[test]
    fn own_uid_is_in_use() {
        assert!(in_use().contains(&nix::unistd::getuid().as_raw()));
        assert_eq!(uid_of_status("Name:\tx\nUid:\t7\t8\t9\t10\n"), Some(7));
    }
}
