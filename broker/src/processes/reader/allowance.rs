//! Rate limits for handlers' access to their callers' memory: requests and bytes per second.
//!
//! A reader is privileged and works on behalf of a jailed worker, without being subject to the worker's resource limits.
//! All readers of a tenant share two token buckets, in a page that is only shared with the broker. A request over the
//! limit is refused immediately: a reader that waited would delay other calls.
//!
//! The errno is `ENOMEM`, which the kernel returns if it cannot allocate memory for such a copy (`memdup_user`,
//! `strndup_user`). The kernel allocates before it accesses the caller's memory; likewise the limit is checked first.
//!
//! Only requests of handlers are limited. What the device itself needs (paths, `REMOTE_ENABLE`) is read once per call
//! and never refused.

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

/// Word: token bucket of requests.
const REQUESTS: usize = 0;
/// Word: token bucket of bytes.
const BYTES: usize = 1;
/// Word: number of requests refused because of the request rate.
const REQUESTS_REFUSED: usize = 2;
/// Word: number of requests refused because of the byte rate.
const BYTES_REFUSED: usize = 3;
/// Words of the page.
const WORDS: usize = 4;

/// The rate limits of one tenant.
#[derive(Debug)]
pub struct Allowance {
    page: SharedWords,
    requests: Rate,
    bytes: Rate,
}

impl Allowance {
    /// Creates the page, with full buckets, for a tenant with these quotas.
    ///
    /// # Errors
    /// Those of [`SharedWords::new`].
    pub fn new(quotas: &Quotas) -> Result<Self, Errno> {
        SharedWords::new(c"kcov-allowance", WORDS).map(|page| Allowance::over(page, quotas))
    }

    /// Maps an existing page in a reader.
    ///
    /// # Errors
    /// Those of [`SharedWords::open`].
    pub fn open(page: OwnedFd, quotas: &Quotas) -> Result<Self, Errno> {
        SharedWords::open(page, WORDS).map(|page| Allowance::over(page, quotas))
    }

    fn over(page: SharedWords, quotas: &Quotas) -> Self {
        Allowance { page, requests: Rate(quotas.assist_rate), bytes: Rate(quotas.assist_bytes) }
    }

    /// The descriptor of the page, to be passed to a reader.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.page.file()
    }

    /// Takes the tokens for a request. Returns whether there were enough; counts refusals.
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

    /// The numbers of refused requests.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for (quota, word) in [(Quota::AssistRate, REQUESTS_REFUSED), (Quota::AssistBytes, BYTES_REFUSED)] {
            refusals.add(quota, self.page[word].load(Ordering::Relaxed));
        }
        refusals
    }
}

/// Number of bytes that a handler's request copies; `None` for requests that are not limited.
fn bytes(what: &ReaderKind) -> Option<u64> {
    match what {
        ReaderKind::Memory { length, .. } => Some(u64::from(*length)),
        ReaderKind::Write { bytes, .. } => Some(bytes.len() as u64),
        ReaderKind::Open { .. } | ReaderKind::Openat2 { .. } => None,
        ReaderKind::Ioctl(_) | ReaderKind::Mmap(_) | ReaderKind::OldMmap { .. } => None,
    }
}

/// The time in nanoseconds, late by a few milliseconds. That is precise enough for buckets that hold one second's tokens;
/// reading the exact clock takes a system call on some machines.
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::abi;
    use kcov_proto::message::KcovIoctl;

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
    fn requests_for_the_device_are_never_refused() {
        let allowance = allowance(0, 0);
        for what in [
            ReaderKind::Open { flags: 0, dirfd: 0, address: 0, resolve: 0 },
            ReaderKind::Openat2 { dirfd: 0, address: 0, how: 0, size: 0 },
            ReaderKind::Ioctl(KcovIoctl { fd: 0, request: abi::REMOTE_ENABLE, arg: 0 }),
            ReaderKind::OldMmap { address: 0 },
        ] {
            assert!(allowance.admit_at(&what, SECOND));
        }
        assert!(!allowance.admit_at(&read(0), SECOND));
        assert_eq!(refused(&allowance), (1, 0));
    }

    #[test]
    fn processes_with_the_page_share_the_limit() {
        let ours = allowance(2, 10);
        let page = ours.file().try_clone_to_owned().expect("a copy");
        let quotas = Quotas { assist_rate: 2, assist_bytes: 10, ..Quotas::default() };
        let theirs = Allowance::open(page, &quotas).expect("the page");
        assert!(ours.admit(&read(5)) && theirs.admit(&read(5)));
        assert!(!theirs.admit(&read(0)) && !ours.admit(&read(0)));
        assert_eq!((refused(&ours), refused(&theirs)), ((2, 0), (2, 0)));
    }
}
