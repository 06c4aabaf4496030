//! Formats the published counters in Prometheus' text format, version 0.0.4.
//!
//! The labels of a series are the tenant's name, its user and the pid of its broker, because tenants of different runs
//! may have the same name. For a dead broker the only sample is `kcov_tenant_up` = 0.
//!
//! A service's tenants have unique names and may not be running. Samples about them only have the label `tenant`, and
//! their series continue from one run to the next.

use super::selection::Selected;
use super::tenant_view::{State, TenantView};
use kcov_proto::latency::{BUCKETS, bound};
use kcov_proto::sections::DropReason;
use std::fmt::Write;

/// Media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric with one sample per tenant.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&TenantView) -> f64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&TenantView) -> f64) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&TenantView) -> f64) -> Metric {
    Metric { name, kind: "counter", help, value }
}

/// The metrics without further labels.
const METRICS: &[Metric] = &[
    gauge("uptime_seconds", "Time since the tenant was started.", |t| t.uptime_seconds),
    gauge("workers", "Live workers.", |t| t.pids.workers.len() as f64),
    gauge("instances", "Open KCOV instances.", |t| t.counts.instances as f64),
    counter("instances_opened_total", "KCOV instances opened.", |t| t.counts.instances_opened as f64),
    gauge("files", "Open files of handlers' devices.", |t| t.counts.files as f64),
    counter("files_opened_total", "Files of handlers' devices opened.", |t| t.counts.files_opened as f64),
    gauge("remote_handles", "Remote handles in use.", |t| t.counts.handles as f64),
    gauge("collecting_threads", "Threads that collect coverage.", |t| t.counts.tasks as f64),
    gauge("arena_bytes", "Total size of the coverage areas.", |t| t.counts.arena_bytes as f64),
    counter("records_total", "Coverage records appended.", |t| t.tally.records as f64),
    counter("records_lost_total", "Coverage records lost because the area was full.", |t| {
        t.tally.records_lost as f64
    }),
    counter("remote_sections_total", "Remote sections started with a handle in use.", |t| {
        t.sections.started as f64
    }),
    counter("remote_records_total", "Coverage records appended by remote sections.", |t| {
        t.sections.records as f64
    }),
    counter("remote_records_lost_total", "Records of remote sections lost because the area was full.", |t| {
        t.sections.lost as f64
    }),
    counter(
        "records_suppressed_total",
        "Points not recorded because a bitmap of KCOV_UNIQUE_ENABLE had them already.",
        |t| t.tally.records_suppressed as f64,
    ),
    counter("assists_total", "Requests from workers to the broker.", |t| t.counts.assists as f64),
    counter("workers_started_total", "Workers forked.", |t| t.counts.workers_started as f64),
    counter("worker_crashes_total", "Workers that died while serving.", |t| t.counts.worker_crashes as f64),
    counter("retries_total", "Calls retried because a worker died while handling them.", |t| {
        t.counts.retries as f64
    }),
    counter("zygote_restarts_total", "Zygotes restarted.", |t| t.counts.zygote_restarts as f64),
    counter("starts_delayed_total", "Worker starts delayed because earlier workers died.", |t| {
        t.counts.starts_delayed as f64
    }),
    counter("artifacts_total", "Crash artifacts written.", |t| t.counts.artifacts as f64),
    counter("restarts_total", "Restarts of the tenant.", |t| t.counts.restarts as f64),
];

/// A tenant of a service, as the service reports it.
#[derive(Clone, Debug)]
pub struct ServiceTenant {
    /// Its name.
    pub name: String,
    /// Its state, as `kcov-broker tenant list` shows it.
    pub state: &'static str,
    /// Whether its command runs with a broker.
    pub is_running: bool,
    /// Pid of its broker, if that is alive.
    pub broker: Option<u32>,
    /// Number of starts.
    pub starts: u64,
    /// Number of failed runs.
    pub failures: u64,
    /// Exit status of the last run.
    pub last_status: Option<u8>,
}

/// Formats all metrics; `service` are the tenants of the service, if there is one.
#[must_use]
pub fn text(selected: &Selected, service: &[ServiceTenant]) -> String {
    let mut text = Text::default();
    text.head("kcov_tenant_up", "gauge", "1 if the tenant's broker runs and publishes, else 0.");
    // A dead broker of another PID namespace is of a container that is gone.
    for tenant in selected.tenants.iter().filter(|tenant| tenant.is_here || tenant.state != State::Dead) {
        let up = if tenant.state == State::Live { 1.0 } else { 0.0 };
        text.sample("kcov_tenant_up", tenant, &[], up);
    }
    for status in service.iter().filter(|status| !is_shown(status, selected)) {
        let up = if status.is_running { 1.0 } else { 0.0 };
        text.of_service("kcov_tenant_up", status, &[], up);
    }
    let live: Vec<_> = selected.tenants.iter().filter(|tenant| tenant.state != State::Dead).collect();
    for metric in METRICS {
        let name = format!("kcov_tenant_{}", metric.name);
        text.head(&name, metric.kind, metric.help);
        live.iter().for_each(|tenant| text.sample(&name, tenant, &[], (metric.value)(tenant)));
    }
    notifications(&mut text, &live);
    refusals(&mut text, &live);
    dropped_sections(&mut text, &live);
    latency(&mut text, &live);
    if !service.is_empty() {
        of_service(&mut text, service);
    }
    text.0
}

/// Whether the tenant's broker has a segment among those selected.
fn is_shown(status: &ServiceTenant, selected: &Selected) -> bool {
    let is_it = |tenant: &TenantView| {
        tenant.is_here && Some(tenant.pid) == status.broker && tenant.name.as_str() == status.name
    };
    selected.tenants.iter().any(is_it)
}

/// Metrics that the service reports about its tenants.
fn of_service(text: &mut Text, tenants: &[ServiceTenant]) {
    const STATE: &str = "kcov_service_tenant_state";
    text.head(STATE, "gauge", "State of the tenant, as shown by `kcov-broker tenant list`.");
    for status in tenants {
        text.of_service(STATE, status, &[("state", status.state)], 1.0);
    }
    const STARTS: &str = "kcov_service_tenant_starts_total";
    text.head(STARTS, "counter", "Starts of the tenant by the service.");
    tenants.iter().for_each(|status| text.of_service(STARTS, status, &[], status.starts as f64));
    const FAILURES: &str = "kcov_service_tenant_failures_total";
    text.head(FAILURES, "counter", "Failed runs of the tenant.");
    tenants.iter().for_each(|status| text.of_service(FAILURES, status, &[], status.failures as f64));
    const LAST: &str = "kcov_service_tenant_last_exit_status";
    text.head(LAST, "gauge", "Exit status of the tenant's last run, or 128 plus the signal.");
    for status in tenants {
        if let Some(last) = status.last_status {
            text.of_service(LAST, status, &[], last.into());
        }
    }
}

fn notifications(text: &mut Text, tenants: &[&TenantView]) {
    const NAME: &str = "kcov_tenant_notifications_total";
    text.head(NAME, "counter", "System calls received by workers, by kind.");
    for tenant in tenants {
        for (kind, count) in tenant.tally.kinds.iter() {
            text.sample(NAME, tenant, &[("kind", kind.name())], count as f64);
        }
    }
}

fn refusals(text: &mut Text, tenants: &[&TenantView]) {
    const NAME: &str = "kcov_tenant_quota_refusals_total";
    text.head(NAME, "counter", "Requests refused because of a quota, by quota.");
    for tenant in tenants {
        for (quota, count) in tenant.refusals.iter() {
            text.sample(NAME, tenant, &[("quota", quota.name())], count as f64);
        }
    }
}

fn dropped_sections(text: &mut Text, tenants: &[&TenantView]) {
    const NAME: &str = "kcov_tenant_remote_sections_dropped_total";
    text.head(NAME, "counter", "Remote sections whose records were dropped, by reason.");
    for tenant in tenants {
        for reason in DropReason::ALL {
            let count = tenant.sections.dropped.of(reason);
            text.sample(NAME, tenant, &[("reason", reason.name())], count as f64);
        }
    }
}

fn latency(text: &mut Text, tenants: &[&TenantView]) {
    const NAME: &str = "kcov_tenant_notification_seconds";
    text.head(NAME, "histogram", "Time a worker spent on a system call; a sample of all calls.");
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

/// The text under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail; the same below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, tenant: &TenantView, more: &[(&str, &str)], value: f64) {
        let pid = tenant.pid.to_string();
        // The name of the file makes the series unique: two PID namespaces may have the same tenant, user and pid.
        let segment = ("segment", tenant.segment.as_str());
        let identity = [("tenant", tenant.name.as_str()), ("user", &tenant.user), ("pid", &pid), segment];
        self.labelled(name, &[&identity, more].concat(), value);
    }

    fn of_service(&mut self, name: &str, status: &ServiceTenant, more: &[(&str, &str)], value: f64) {
        self.labelled(name, &[&[("tenant", status.name.as_str())], more].concat(), value);
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn without_tenants_there_are_only_headers() {
        let text = text(&Selected::default(), &[]);
        assert!(text.lines().all(|line| line.starts_with("# ")), "{text}");
        assert_eq!(text.lines().count(), 2 * (METRICS.len() + 5));
    }
}
