//! Prometheus' text format (version 0.0.4) of what brokers show.
//!
//! A series is known by name and user of its tenant and by the broker's process id, as several tenants may have one
//! name. Of a dead broker nothing is told but that it is down.

use super::selection::Selected;
use super::tenant::{State, Tenant};
use kcov_proto::latency::{BUCKETS, bound};
use std::fmt::Write;

/// Media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric with one number for each tenant.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Tenant) -> f64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Tenant) -> f64) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Tenant) -> f64) -> Metric {
    Metric { name, kind: "counter", help, value }
}

/// One a line; what is told by kind or by bucket is below.
const METRICS: &[Metric] = &[
    gauge("uptime_seconds", "Time since the tenant was started.", |t| t.uptime_seconds),
    gauge("workers", "Workers that live.", |t| t.pids.workers.len() as f64),
    gauge("instances", "Open KCOV devices.", |t| t.counts.instances as f64),
    counter("instances_opened_total", "KCOV devices ever opened.", |t| t.counts.instances_opened as f64),
    gauge("files", "Open files of handlers' devices.", |t| t.counts.files as f64),
    counter("files_opened_total", "Files of handlers' devices ever opened.", |t| {
        t.counts.files_opened as f64
    }),
    gauge("remote_handles", "Remote handles that are taken.", |t| t.counts.handles as f64),
    gauge("collecting_threads", "Threads that own a device.", |t| t.counts.tasks as f64),
    gauge("arena_bytes", "Bytes of all areas.", |t| t.counts.arena_bytes as f64),
    counter("records_total", "Coverage records appended.", |t| t.tally.records as f64),
    counter("records_lost_total", "Coverage records lost, as the area was full.", |t| {
        t.tally.records_lost as f64
    }),
    counter("assists_total", "Requests of workers to the broker.", |t| t.counts.assists as f64),
    counter("workers_started_total", "Workers forked.", |t| t.counts.workers_started as f64),
    counter("worker_crashes_total", "Workers that died while they served.", |t| {
        t.counts.worker_crashes as f64
    }),
    counter("retries_total", "Calls handled once more, as a worker died of them.", |t| {
        t.counts.retries as f64
    }),
    counter("zygote_restarts_total", "Zygotes that followed one that died.", |t| {
        t.counts.zygote_restarts as f64
    }),
    counter("artifacts_total", "Artifacts of crashes written.", |t| t.counts.artifacts as f64),
    counter("restarts_total", "How often the tenant was started anew.", |t| t.counts.restarts as f64),
];

/// The text.
#[must_use]
pub fn text(selected: &Selected) -> String {
    let mut text = Text::default();
    text.head("kcov_tenant_up", "gauge", "Whether the broker of the tenant runs and shows it.");
    for tenant in &selected.tenants {
        let up = if tenant.state == State::Live { 1.0 } else { 0.0 };
        text.sample("kcov_tenant_up", tenant, &[], up);
    }
    let there: Vec<_> = selected.tenants.iter().filter(|tenant| tenant.state != State::Dead).collect();
    for metric in METRICS {
        let name = format!("kcov_tenant_{}", metric.name);
        text.head(&name, metric.kind, metric.help);
        there.iter().for_each(|tenant| text.sample(&name, tenant, &[], (metric.value)(tenant)));
    }
    notifications(&mut text, &there);
    refusals(&mut text, &there);
    latency(&mut text, &there);
    text.0
}

fn notifications(text: &mut Text, tenants: &[&Tenant]) {
    const NAME: &str = "kcov_tenant_notifications_total";
    text.head(NAME, "counter", "System calls that workers took, by what they were about.");
    for tenant in tenants {
        for (kind, count) in tenant.tally.kinds.iter() {
            text.sample(NAME, tenant, &[("kind", kind.name())], count as f64);
        }
    }
}

fn refusals(text: &mut Text, tenants: &[&Tenant]) {
    const NAME: &str = "kcov_tenant_quota_refusals_total";
    text.head(NAME, "counter", "What was refused over a quota, by quota.");
    for tenant in tenants {
        for (quota, count) in tenant.refusals.iter() {
            text.sample(NAME, tenant, &[("quota", quota.name())], count as f64);
        }
    }
}

fn latency(text: &mut Text, tenants: &[&Tenant]) {
    const NAME: &str = "kcov_tenant_notification_seconds";
    text.head(NAME, "histogram", "Time that a worker had a system call, of a sample.");
    for tenant in tenants {
        let mut below = 0_u64;
        for bucket in 0..BUCKETS {
            below = below.saturating_add(tenant.tally.latency.0[bucket]);
            let le = bound(bucket).map_or("+Inf".to_owned(), |bound| (bound as f64 / 1e9).to_string());
            text.sample("kcov_tenant_notification_seconds_bucket", tenant, &[("le", &le)], below as f64);
        }
        let sum = tenant.tally.latency_sum_ns as f64 / 1e9;
        text.sample("kcov_tenant_notification_seconds_sum", tenant, &[], sum);
        text.sample("kcov_tenant_notification_seconds_count", tenant, &[], below as f64);
    }
}

/// Lines of the format.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, tenant: &Tenant, more: &[(&str, &str)], value: f64) {
        let (user, pid) = (escaped(&tenant.user), tenant.pid);
        let _ = write!(
            self.0,
            "{name}{{tenant=\"{}\",user=\"{user}\",pid=\"{pid}\"",
            escaped(tenant.name.as_str())
        );
        for (label, value) in more {
            let _ = write!(self.0, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.0, "}} {value}");
    }
}

/// The value of a label, between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_label_is_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn nobody_to_tell_of_is_no_error() {
        let text = text(&Selected::default());
        assert!(text.lines().all(|line| line.starts_with("# ")), "{text}");
        assert_eq!(text.lines().count(), 2 * (METRICS.len() + 4));
    }
}
