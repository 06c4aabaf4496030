//! What changed between two looks at a tenant.

use crate::live::tenant::Tenant;
use kcov_proto::latency::Histogram;

/// Since the look before, or since its start for a tenant that was not there then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Notifications of a second.
    pub calls: f64,
    /// Records of a second.
    pub records: f64,
    /// Times of the notifications.
    pub latency: Histogram,
}

impl Rates {
    /// From `before` to `after`, which are of one segment. Broker and workers may count backwards: that is 0.
    #[must_use]
    pub fn between(before: Option<&Tenant>, after: &Tenant) -> Self {
        let (since, tally) =
            before.map_or((after.started, Default::default()), |tenant| (tenant.beat, tenant.tally));
        let seconds = after.beat.saturating_sub(since) as f64 / 1e9;
        let rate = |before: u64, after: u64| {
            if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        Rates {
            calls: rate(tally.notifications, after.tally.notifications),
            records: rate(tally.records, after.tally.records),
            latency: after.tally.latency.since(&tally.latency),
        }
    }
}
