//! The token bucket compared with an exact one: both agree within one token.
#![cfg(not(loom))]

mod cases;

use kcov_proto::sync::AtomicU64;
use kcov_proto::token_bucket::Rate;
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
/// A clock value after 30 years, in nanoseconds.
const LATE: u64 = 30 * 365 * 86_400 * SECOND;

/// A bucket that counts fractions of a token, in units of 1/`SECOND`.
struct Exact {
    rate: u64,
    parts: i128,
    last: u64,
}

impl Exact {
    fn new(rate: u64, now: u64) -> Self {
        Exact { rate, parts: i128::from(rate) * i128::from(SECOND), last: now }
    }

    fn fill(&mut self, now: u64) {
        let more = i128::from(now - self.last) * i128::from(self.rate);
        self.parts = (self.parts + more).min(i128::from(self.rate) * i128::from(SECOND));
        self.last = now;
    }

    fn has(&self, tokens: u64) -> bool {
        self.parts >= i128::from(tokens) * i128::from(SECOND)
    }

    fn take(&mut self, tokens: u64) {
        self.parts -= i128::from(tokens) * i128::from(SECOND);
    }
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 1_000..100_000_000_u64, SECOND - 9..=SECOND + 9, 0..1_u64 << 34]
}

/// Requests, as a fraction of the tokens of a second, and the pauses before them. Many are near the limit.
fn steps() -> impl Strategy<Value = Vec<(f64, u64)>> {
    let part = prop_oneof![3 => 0.0..0.3, 1 => 0.0..1.2];
    vec((part, prop_oneof![0..1000_u64, 0..SECOND / 2, 0..3 * SECOND]), 1..60)
}

proptest! {
    #![proptest_config(cases::config())]

    #[test]
    fn gives_the_tokens_that_arrived_and_no_more(rate in rate(), start in 0..LATE, steps in steps()) {
        let (word, mut now, mut exact) = (AtomicU64::new(0), start, Exact::new(rate, start));
        for (part, pause) in steps {
            now += pause;
            exact.fill(now);
            let tokens = (rate as f64 * part) as u64;
            let taken = Rate(rate).take(&word, tokens, now);
            if taken {
                prop_assert!(tokens == 0 || exact.has(tokens - 1), "{} of {:?}", tokens, exact.parts);
                exact.take(tokens);
            } else {
                prop_assert!(!exact.has(tokens + 1), "{} of {:?}", tokens, exact.parts);
            }
        }
    }

    #[test]
    fn the_tokens_of_a_second_can_be_taken_at_once(rate in 1..200_u64, now in 0..LATE) {
        let word = AtomicU64::new(0);
        prop_assert!((0..rate).all(|_| Rate(rate).take(&word, 1, now)));
        prop_assert!(!Rate(rate).take(&word, 1, now));
        prop_assert!(Rate(rate).take(&word, rate, now + SECOND));
    }

    #[test]
    fn a_refused_request_takes_no_tokens(rate in 0..1_u64 << 34, now in 0..LATE, more in 1_u64..) {
        let word = AtomicU64::new(0);
        prop_assert!(!Rate(rate).take(&word, rate.saturating_add(more), now));
        prop_assert!(Rate(rate).take(&word, rate, now));
    }

    /// Another process may have read the clock earlier.
    #[test]
    fn an_older_clock_value_gives_no_extra_tokens(rate in 1..SECOND, now in SECOND..LATE, behind in 0..SECOND) {
        let word = AtomicU64::new(0);
        prop_assert!(Rate(rate).take(&word, rate, now));
        prop_assert!(!Rate(rate).take(&word, 1, now - behind));
    }

    #[test]
    fn a_huge_rate_is_unlimited(rate in 1_u64 << 34.., tokens: u64, now: u64) {
        prop_assert!(Rate(rate).take(&AtomicU64::new(u64::MAX), tokens, now));
    }
}
