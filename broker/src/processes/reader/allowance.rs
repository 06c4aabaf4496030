//! What the handlers of a tenant may read and write of their callers' memory: so often and so many bytes a second.
//!
//! Readers work for a jailed worker with privileges, and outside of whatever bounds it. All readers of a tenant draw from
//! the same buckets, in a page that they share with the broker and nobody else. What is too much is refused at once: no
//! reader waits, as it would keep others' calls waiting, and the kernel's own copies do not wait either.
//!
//! The kernel says `ENOMEM` where it has no memory for such a copy (`memdup_user`, `strndup_user`), before it looks at
//! what is to be copied; so this says the same, before the reader does.
//!
//! Bounded are requests of handlers alone. What the reader looks at for the device itself (paths, `REMOTE_ENABLE`) comes
//! once a call, and is never refused.

use crate::launch::quotas::Quotas;
use crate::sys::shared::SharedWords;
use kcov_proto::message::ReaderKind;
use kcov_proto::quota::{Quota, Refusals};
use kcov_proto::sync::Ordering;
use kcov_proto::token_bucket::Rate;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Word: the bucket of requests.
const REQUESTS: usize = 0;
/// Word: the bucket of bytes.
const BYTES: usize = 1;
/// Word: requests refused, as there were too many.
const REQUESTS_REFUSED: usize = 2;
/// Word: requests refused, as there were too many bytes.
const BYTES_REFUSED: usize = 3;
/// Words of the page.
const WORDS: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Allowance {
    page: SharedWords,
    requests: Rate,
    bytes: Rate,
}

impl Allowance {
    /// That of a tenant with these quotas, none of it used.
    ///
    /// # Errors
    /// As [`SharedWords::new`].
    pub fn new(quotas: &Quotas) -> Result<Self, Errno> {
        SharedWords::new(c"kcov-allowance", WORDS).map(|page| Allowance::over(page, quotas))
    }

    /// The same in a reader, by the file of its page.
    ///
    /// # Errors
    /// As [`SharedWords::open`].
    pub fn open(page: OwnedFd, quotas: &Quotas) -> Result<Self, Errno> {
        SharedWords::open(page, WORDS).map(|page| Allowance::over(page, quotas))
    }

    fn over(page: SharedWords, quotas: &Quotas) -> Self {
        Allowance { page, requests: Rate(quotas.assist_rate), bytes: Rate(quotas.assist_bytes) }
    }

    /// Its page, for a reader.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.page.file()
    }

    /// Takes what a request needs out of the buckets. Says whether it was there; a refusal is counted.
    #[must_use]
    pub fn admit(&self, what: &ReaderKind) -> bool {
        self.admit_at(what, now())
    }

    fn admit_at(&self, what: &ReaderKind, now: u64) -> bool {
        let Some(bytes) = bytes(what) else { return true };
        let refused = if !self.requests.take(&self.page[REQUESTS], 1, now) {
            REQUESTS_REFUSED
        } else if !self.bytes.take(&self.page[BYTES], bytes, now) {
            BYTES_REFUSED
        } else {
            return true;
        };
        self.page[refused].fetch_add(1, Ordering::Relaxed);
        false
    }

    /// What was refused.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for (quota, word) in [(Quota::AssistRate, REQUESTS_REFUSED), (Quota::AssistBytes, BYTES_REFUSED)] {
            refusals.add(quota, self.page[word].load(Ordering::Relaxed));
        }
        refusals
    }
}

/// Bytes that a handler wants copied; `None` if it is not a handler that wants something.
fn bytes(what: &ReaderKind) -> Option<u64> {
    match what {
        ReaderKind::Memory { length, .. } => Some(u64::from(*length)),
        ReaderKind::Write { bytes, .. } => Some(bytes.len() as u64),
        ReaderKind::Open { .. } | ReaderKind::Openat2 { .. } => None,
        ReaderKind::RemoteEnable { .. } | ReaderKind::OldMmap { .. } => None,
    }
}

/// Nanoseconds, a few milliseconds late: buckets that hold a second's worth need no better, and the exact clock is a
/// system call on some machines.
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn allowance(assist_rate: u64, assist_bytes: u64) -> Allowance {
        Allowance::new(&Quotas { assist_rate, assist_bytes, ..Quotas::default() }).expect("a page")
    }

    fn read(length: u32) -> ReaderKind {
        ReaderKind::Memory { address: 0, length }
    }

    fn refused(allowance: &Allowance) -> (u64, u64) {
        let refusals = allowance.refusals();
        (refusals.of(Quota::AssistRate), refusals.of(Quota::AssistBytes))
    }

    #[test]
    fn reads_and_writes_draw_from_the_same_buckets() {
        let allowance = allowance(3, 100);
        let write = ReaderKind::Write { address: 0, bytes: vec![0; 60] };
        assert!(allowance.admit_at(&read(40), SECOND) && allowance.admit_at(&write, SECOND));
        assert!(!allowance.admit_at(&read(1), SECOND));
        assert!(!allowance.admit_at(&read(0), SECOND));
        assert_eq!(refused(&allowance), (1, 1));
        assert!(allowance.admit_at(&read(0), 2 * SECOND) && allowance.admit_at(&read(100), 2 * SECOND));
    }

    #[test]
    fn what_the_device_needs_is_never_refused() {
        let allowance = allowance(0, 0);
        for what in [
            ReaderKind::Open { flags: 0, dirfd: 0, address: 0, resolve: 0 },
            ReaderKind::Openat2 { dirfd: 0, address: 0, how: 0, size: 0 },
            ReaderKind::RemoteEnable { fd: 0, address: 0 },
            ReaderKind::OldMmap { address: 0 },
        ] {
            assert!(allowance.admit_at(&what, SECOND));
        }
        assert!(!allowance.admit_at(&read(0), SECOND));
        assert_eq!(refused(&allowance), (1, 0));
    }

    #[test]
    fn all_who_have_the_page_share() {
        let ours = allowance(2, 10);
        let page = ours.file().try_clone_to_owned().expect("a copy");
        let quotas = Quotas { assist_rate: 2, assist_bytes: 10, ..Quotas::default() };
        let theirs = Allowance::open(page, &quotas).expect("the page");
        assert!(ours.admit(&read(5)) && theirs.admit(&read(5)));
        assert!(!theirs.admit(&read(0)) && !ours.admit(&read(0)));
        assert_eq!((refused(&ours), refused(&theirs)), ((2, 0), (2, 0)));
    }
}
