//! Logging: to standard error, quiet by default, with stable event names.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `open` | the device was opened, or refused | id, tid, command, fd, errno |
//! | `ioctl` | a KCOV request was answered | id, tid, command, errno |
//! | `enable` | a thread collects | id, tid, command, mode |
//! | `disable` | a thread stopped collecting | id, tid, command |
//! | `attach` | a worker maps an area | id, worker |
//! | `exec_rebind` | a thread became the leader of its group by `execve` | tid, old |
//! | `owner_exit` | a thread exited while it collected | tid |
//! | `worker_crash` | a worker ended; the first 256, and then at most one a second | worker, tid, call; signal, or exit status; reason, if the broker ended it; forbidden: the call that the jail forbade it, if it died of one |
//! | `worker_crashes` | every 10 seconds, and at the end: workers ended that had no line of their own | times, all |
//! | `worker_lost` | a worker was dead, or none of the zygote's, when the broker heard of it | pid, errno |
//! | `silent` | a handler recorded nothing of a call whose caller collects PCs; of each handler once | handler |
//! | `retry` | a call of an idempotent handler goes to the next worker | tid, call |
//! | `reader_stuck` | a reader was past its deadline | worker |
//! | `back_off` | the next worker waits, as some in a row have died, or too many of late | milliseconds, option |
//! | `zygote_crash` | a zygote ended | error |
//! | `tender_crash` | a tender was killed, and its tenant ends | |
//! | `quota` | something was refused over a quota; of each quota at most every 10 seconds, and at the end | what, bound, times, errno, option, key |
//! | `artifact_failed` | a crash left no artifact, as it could not be written | name, directory, reason |
//! | `artifact_refused` | a crash left no artifact, as there was no room | name, times |
//! | `zygote_stuck` | a zygote did not fork a worker in time | pid |
//!
//! Of a service, also, always, with the tenant's name in `tenant`:
//!
//! | event | when | fields |
//! |---|---|---|
//! | `tenant_start` | a tenant runs | broker, took_ms |
//! | `tenant_end` | a tenant ended | status, reason, next |
//! | `tenant_stopped` | a command was stopped by a signal | |
//! | `tenant_kill` | a tenant did not end when it was asked to | |
//! | `broker_crash` | a broker was killed | |
//! | `service_start` | the service serves | tenants, socket |
//! | `service_reload` | the configuration was read again, or is wrong | added, changed, removed |
//! | `metrics_end` | the process for metrics ended, or has no use | reason |
//! | `service_end` | the service is told to end, and has ended | |
//!
//! `id` numbers the instances of a tenant, `tid` is the calling thread, `worker` a process id; `errno` is there if the
//! call was refused.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line an event, for people.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Starts the log of a service: what becomes of tenants is told always, what happens within them as `verbosity` says.
/// The journal has its own clock.
pub fn start_service(format: LogFormat, verbosity: u8) {
    let level = level(verbosity);
    let targets =
        Targets::new().with_default(level).with_target("kcov_broker::service", level.max(LevelFilter::INFO));
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let registry = tracing_subscriber::registry();
    // A second start, in a test, keeps the first.
    let _ = match (format, std::env::var_os("JOURNAL_STREAM").is_some()) {
        (LogFormat::Text, true) => registry.with(layer.without_time().with_filter(targets)).try_init(),
        (LogFormat::Text, false) => registry.with(layer.with_filter(targets)).try_init(),
        (LogFormat::Json, _) => {
            registry.with(layer.json().flatten_event(true).with_filter(targets)).try_init()
        }
    };
}

/// Starts logging; `verbosity` counts the `-v`.
pub fn start(format: LogFormat, verbosity: u8) {
    let level = level(verbosity);
    let builder = fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // A second start, in a test, keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
