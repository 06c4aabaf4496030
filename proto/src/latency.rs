//! A histogram of how long notifications take. Each bucket is twice as wide as the one before.
//!
//! A time runs from the return of `SECCOMP_IOCTL_NOTIF_RECV` to just before the reply. Only a sample of
//! notifications is timed, see [`slot::TIMED`](crate::slot::TIMED). If the reader or the broker sends the
//! reply, only the worker's part is counted.

use serde::ser::{SerializeSeq, Serializer};

/// Number of buckets. The last one, from 2^38 ns (275 s), has no upper bound.
pub const BUCKETS: usize = 32;
/// The first bucket holds all times below 2^8 = 256 ns, less than any notification takes.
const FIRST: u32 = 8;

/// The bucket of a time in nanoseconds.
#[must_use]
pub fn bucket(nanoseconds: u64) -> usize {
    let bits = u64::BITS - nanoseconds.leading_zeros();
    (bits.saturating_sub(FIRST) as usize).min(BUCKETS - 1)
}

/// Upper bound of a bucket in nanoseconds, exclusive; `None` for the last bucket.
#[must_use]
pub fn bound(bucket: usize) -> Option<u64> {
    (bucket < BUCKETS - 1).then(|| 1 << (FIRST + bucket as u32))
}

/// The number of times in each bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub [u64; BUCKETS]);

impl Histogram {
    /// Number of times in all buckets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Difference to an earlier copy `before` of the same histogram. A bucket that decreased counts as 0.
    #[must_use]
    pub fn since(&self, before: &Histogram) -> Histogram {
        Histogram(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(before.0[bucket])))
    }

    /// The buckets from the first to the last that is not empty, each with its upper bound and count.
    pub fn filled(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let first = self.0.iter().position(|count| *count != 0).unwrap_or(BUCKETS);
        let end = self.0.iter().rposition(|count| *count != 0).map_or(first, |last| last + 1);
        (first..end).map(|bucket| (bound(bucket), self.0[bucket]))
    }

    /// Upper bound in nanoseconds of the fastest `share` (0 to 1) of all times. `None` if there are no times,
    /// or if that bound is in the last bucket.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0);
        let mut below = 0_u64;
        let found = self.0.iter().position(|count| {
            below = below.saturating_add(*count);
            below as f64 >= wanted
        });
        found.and_then(bound)
    }
}

/// As a list of buckets, without the empty ones at both ends: `{"below_ns": 4096, "count": 7}`.
impl serde::Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Bucket {
            below_ns: Option<u64>,
            count: u64,
        }
        let mut list = serializer.serialize_seq(None)?;
        for (below_ns, count) in self.filled() {
            list.serialize_element(&Bucket { below_ns, count })?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_within_the_bounds_of_its_bucket() {
        let near = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for time in near.chain([0, u64::MAX]) {
            let bucket = bucket(time);
            assert!(bound(bucket).is_none_or(|bound| time < bound), "{time}");
            assert!(bucket == 0 || bound(bucket - 1).is_some_and(|bound| time >= bound), "{time}");
        }
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.count()), (None, 0));
        histogram.0[4] = 98;
        histogram.0[6] = 1;
        histogram.0[BUCKETS - 1] = 1;
        assert_eq!(histogram.quantile(0.5), bound(4));
        assert_eq!(histogram.quantile(0.99), bound(6));
        assert_eq!(histogram.quantile(1.0), None);
        assert_eq!(histogram.filled().count(), BUCKETS - 4);
    }

    #[test]
    fn a_difference_counts_only_later_times() {
        let (mut before, mut after) = (Histogram::default(), Histogram::default());
        (before.0[3], before.0[4], after.0[3], after.0[5]) = (2, 7, 5, 1);
        let since = after.since(&before);
        assert_eq!((since.0[3], since.0[4], since.0[5], since.count()), (3, 0, 1, 4));
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let histogram = Histogram([u64::MAX; BUCKETS]);
        assert_eq!((histogram.count(), histogram.quantile(0.0)), (u64::MAX, bound(0)));
    }
}
