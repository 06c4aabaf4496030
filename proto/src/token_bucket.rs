//! A token bucket in one shared word, from which several processes may take at once.
//!
//! The bucket holds the tokens of one second and refills at that rate. So in any period, takers together get
//! at most the tokens of that period plus those of one second. A taker that never asks for more than the
//! tokens of a second, nor faster than they arrive, always gets them, up to a rounding error of one token.
//!
//! The word holds the time at which the bucket will be full again, counted in tokens that have arrived since
//! the clock began. Taking tokens moves that time into the future. Because the state is one word, a process
//! that is killed in between leaves it consistent. The initial value 0 is a full bucket.

use crate::sync::{AtomicU64, Ordering};

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;
/// Rates from here on are unlimited: no machine copies as many bytes per second, and at any lower rate the
/// count of tokens does not overflow within 30 years.
const UNBOUNDED: u64 = 1 << 34;

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

impl Rate {
    /// Number of tokens that arrive in this many nanoseconds.
    fn after(self, nanoseconds: u64) -> u64 {
        let tokens = u128::from(nanoseconds) * u128::from(self.0) / u128::from(SECOND);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Takes `tokens` from the bucket `word` at time `now`, in nanoseconds of a monotonic clock. Returns
    /// whether there were enough; if not, none are taken.
    pub fn take(self, word: &AtomicU64, tokens: u64, now: u64) -> bool {
        if self.0 >= UNBOUNDED || tokens == 0 {
            return true;
        }
        let now = self.after(now);
        let mut full = word.load(Ordering::Relaxed);
        loop {
            let next = full.max(now).saturating_add(tokens);
            if next - now > self.0 {
                return false;
            }
            match word.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => full = changed,
            }
        }
    }
}
