//! Changes of a tenant's counters between two samples.

use crate::live::tenant_view::TenantView;
use kcov_proto::latency::Histogram;

/// Changes since the previous sample, or since the start of a tenant that was not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Notifications per second.
    pub calls: f64,
    /// Records per second.
    pub records: f64,
    /// Latencies of the notifications.
    pub latency: Histogram,
}

impl Rates {
    /// Changes from `before` to `after`, two samples of one segment. Counters are untrusted: a decrease counts as 0.
    #[must_use]
    pub fn between(before: Option<&TenantView>, after: &TenantView) -> Self {
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
