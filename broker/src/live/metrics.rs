//! Prometheus' text format (version 0.0.4) of what brokers show.
//!
//! A series is known by name and user of its tenant and by the broker's process id, as several tenants may have one
//! name. Of a dead broker nothing is told but that it is down.
//!
//! A service knows its tenants by their names, those that do not run among them: what it says of them has no other label,
//! and goes on from one run to the next.

use super::selection::Selected;
use super::tenant::{State, Tenant};
use crate::service::control::message::{Condition, Status};
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
    counter(
        "starts_delayed_total",
        "Workers whose start was held up, as others before them had died.",
        |t| t.counts.starts_delayed as f64,
    ),
    counter("artifacts_total", "Artifacts of crashes written.", |t| t.counts.artifacts as f64),
    counter("restarts_total", "How often the tenant was started anew.", |t| t.counts.restarts as f64),
];

/// The text; `service` has the tenants of a service, if there is one.
#[must_use]
pub fn text(selected: &Selected, service: &[Status]) -> String {
    let mut text = Text::default();
    text.head("kcov_tenant_up", "gauge", "Whether the broker of the tenant runs and shows it.");
    for tenant in &selected.tenants {
        let up = if tenant.state == State::Live { 1.0 } else { 0.0 };
        text.sample("kcov_tenant_up", tenant, &[], up);
    }
    for status in service.iter().filter(|status| !is_shown(status, selected)) {
        let up = if status.state == Condition::Running { 1.0 } else { 0.0 };
        text.of_service("kcov_tenant_up", status, &[], up);
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
    if !service.is_empty() {
        of_service(&mut text, service);
    }
    text.0
}

/// Whether the broker of a service's tenant shows what it does, or did.
fn is_shown(status: &Status, selected: &Selected) -> bool {
    let is_it = |tenant: &Tenant| Some(tenant.pid) == status.broker && tenant.name.as_str() == status.name;
    selected.tenants.iter().any(is_it)
}

/// What a service knows of its tenants, whether they run or not.
fn of_service(text: &mut Text, tenants: &[Status]) {
    const STATE: &str = "kcov_service_tenant_state";
    text.head(STATE, "gauge", "What the tenant is at, as `kcov-broker tenant list` says it.");
    for status in tenants {
        text.of_service(STATE, status, &[("state", status.state.name())], 1.0);
    }
    const STARTS: &str = "kcov_service_tenant_starts_total";
    text.head(STARTS, "counter", "How often the service has started the tenant.");
    tenants.iter().for_each(|status| text.of_service(STARTS, status, &[], status.starts as f64));
    const FAILURES: &str = "kcov_service_tenant_failures_total";
    text.head(FAILURES, "counter", "Runs of the tenant that failed.");
    tenants.iter().for_each(|status| text.of_service(FAILURES, status, &[], status.failures as f64));
    const LAST: &str = "kcov_service_tenant_last_exit_status";
    text.head(LAST, "gauge", "Status that the last run of the tenant ended with, or 128 and the signal.");
    for status in tenants {
        if let Some(last) = status.last_status {
            text.of_service(LAST, status, &[], last.into());
        }
    }
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
        let pid = tenant.pid.to_string();
        let known_by = [("tenant", tenant.name.as_str()), ("user", &tenant.user), ("pid", &pid)];
        self.labelled(name, &[&known_by, more].concat(), value);
    }

    fn of_service(&mut self, name: &str, status: &Status, more: &[(&str, &str)], value: f64) {
        self.labelled(name, &[&[("tenant", status.name.as_str())], more].concat(), value);
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
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
        let text = text(&Selected::default(), &[]);
        assert!(text.lines().all(|line| line.starts_with("# ")), "{text}");
        assert_eq!(text.lines().count(), 2 * (METRICS.len() + 4));
    }
}
