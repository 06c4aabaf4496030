//! A token bucket in one word, which several processes may take from at once.
//!
//! It holds the tokens of a second and fills at their rate. So in any stretch of time nobody gets more than the tokens of
//! that time and of one second besides, and who never wants more than the tokens of a second, nor faster than they come,
//! gets them; but for one token, as their clock counts whole ones.
//!
//! The word is the time at which the bucket is full, in tokens that have come since the clock began: to take is to put
//! that off. One word is all there is, so a process that is killed in the middle leaves nothing undone; and a bucket that
//! nobody touched, zero, is full.

use crate::sync::{AtomicU64, Ordering};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// From this rate on nothing is refused: no machine copies as many bytes a second, and the clock of a lower one counts for
/// 30 years.
const UNBOUNDED: u64 = 1 << 34;

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

impl Rate {
    /// Tokens that have come after so many nanoseconds.
    fn after(self, nanoseconds: u64) -> u64 {
        let tokens = u128::from(nanoseconds) * u128::from(self.0) / u128::from(SECOND);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Takes `tokens` out of the bucket `word`, at `now` (nanoseconds of a clock that does not go back), or none if there
    /// are not as many. Says whether it did.
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
