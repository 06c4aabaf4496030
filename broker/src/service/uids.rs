//! uids for workers: one a tenant, out of a range, again only when nobody has it any more. A tenant that starts anew has
//! its last one again if it can: others have it only when the range is used up.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;

/// See the module.
#[derive(Debug)]
pub struct Uids {
    /// Never given out.
    fresh: RangeInclusive<u32>,
    /// Of those, the ones that somebody had before.
    foreign: HashSet<u32>,
    /// Given back, the first one first: the longer ago, the likelier that nobody has it.
    back: VecDeque<u32>,
}

impl Uids {
    /// Those of `range` that are not in `used`.
    #[must_use]
    pub fn new(range: RangeInclusive<u32>, used: impl IntoIterator<Item = u32>) -> Self {
        let foreign = used.into_iter().filter(|uid| range.contains(uid)).collect();
        Uids { fresh: range, foreign, back: VecDeque::new() }
    }

    /// One that nobody has, `last` if it can be; `None` if there is none. `used` tells which are in use, and is asked for no
    /// new ones: it looks at every process.
    pub fn take(&mut self, last: Option<u32>, used: impl Fn() -> Vec<u32>) -> Option<u32> {
        let again =
            last.and_then(|last| self.back.iter().position(|uid| *uid == last && !used().contains(uid)));
        if let Some(place) = again {
            return self.back.remove(place);
        }
        for uid in self.fresh.by_ref() {
            if !self.foreign.contains(&uid) {
                return Some(uid);
            }
            self.back.push_back(uid);
        }
        let used = used();
        let place = self.back.iter().position(|uid| !used.contains(uid))?;
        self.back.remove(place)
    }

    /// Takes one back.
    pub fn give_back(&mut self, uid: u32) {
        self.back.push_back(uid);
    }
}

/// uids that processes run under, by the owners of their files in procfs and, for those that are not dumpable and show as
/// root's there, by their status.
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
    fn each_is_given_once_until_it_comes_back() {
        let mut uids = Uids::new(10..=12, [3, 11]);
        let mut take = || uids.take(None, || vec![11]);
        assert_eq!((take(), take(), take()), (Some(10), Some(12), None));
        uids.give_back(12);
        uids.give_back(10);
        assert_eq!(uids.take(None, Vec::new), Some(11), "nobody has it any more");
        assert_eq!(uids.take(None, || vec![12]), Some(10), "the other one is in use");
        assert_eq!(uids.take(None, Vec::new), Some(12));
        assert_eq!(uids.take(None, Vec::new), None);
    }

    #[test]
    fn who_starts_anew_has_its_last_one_unless_somebody_has_it() {
        let mut uids = Uids::new(10..=20, []);
        let none = || unreachable!("a fresh one is not looked for");
        assert_eq!((uids.take(None, none), uids.take(Some(99), none)), (Some(10), Some(11)));
        uids.give_back(10);
        uids.give_back(11);
        assert_eq!(uids.take(Some(11), Vec::new), Some(11), "though another one was back for longer");
        assert_eq!(uids.take(Some(11), none), Some(12), "somebody else has it");
        assert_eq!(uids.take(Some(10), || vec![10]), Some(13), "a process of it is left");
    }

    #[test]
    fn own_uid_is_in_use() {
        assert!(in_use().contains(&nix::unistd::getuid().as_raw()));
        assert_eq!(uid_of_status("Name:\tx\nUid:\t7\t8\t9\t10\n"), Some(7));
    }
}
