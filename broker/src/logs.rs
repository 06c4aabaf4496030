//! The log: written to standard error, quiet by default, with stable event names.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `open` | the device was opened, or the open was refused | id, tid, command, fd, errno |
//! | `ioctl` | a KCOV request was answered | id, tid, command, errno |
//! | `enable` | a thread starts to collect | id, tid, command, mode |
//! | `disable` | a thread stops collecting | id, tid, command |
//! | `attach` | a worker mapped an area | id, worker |
//! | `exec_rebind` | a thread became the leader of its thread group by `execve` | tid, old |
//! | `owner_exit` | a thread exited while it collected | tid |
//! | `worker_crash` | a worker died; the first 256, then at most one per second | worker, tid, call; signal or exit status; reason, if the broker killed it; forbidden: the call for which the jail killed it |
//! | `worker_crashes` | every 10 seconds, and at the end: number of dead workers without a `worker_crash` event | times, all |
//! | `worker_lost` | the zygote reported a worker that is dead, or not its child | pid, errno |
//! | `silent` | a handler recorded nothing for a call whose caller collects PCs; once per handler | handler |
//! | `retry` | the next worker repeats a call of an idempotent handler | tid, call |
//! | `reader_stuck` | readers missed their deadline; at once, then at most every 10 seconds, and at the end | times |
//! | `back_off` | the next worker is delayed after repeated crashes | milliseconds, option |
//! | `zygote_crash` | a zygote died | error |
//! | `tender_crash` | a tender was killed; its tenant ends | |
//! | `quota` | requests beyond a quota were refused; at most every 10 seconds per quota, and at the end | what, bound, times, errno, option, key |
//! | `artifact_failed` | an artifact could not be written | name, directory, reason |
//! | `artifact_refused` | an artifact was not written because of a quota | name, times |
//! | `zygote_stuck` | a zygote did not fork a worker in time | pid |
//! | `left_out` | events of one kind that were not logged because there were too many; every 10 seconds, and at the end | of, times |
//! | `log_lost` | lines that could not be written to standard error | times |
//!
//! Each kind of event is bounded: of warnings and errors 512 at once, then one per second; of what `-v` and `-vv` add
//! 65,536, then 1000 per second. Each event is one line, in which control characters are escaped.
//!
//! A service also logs these events, at any verbosity, with the tenant's name in `tenant`:
//!
//! | event | when | fields |
//! |---|---|---|
//! | `tenant_start` | a tenant was started | broker, took_ms |
//! | `tenant_end` | a tenant ended | status, reason, next |
//! | `tenant_stopped` | a command was stopped by a signal | |
//! | `tenant_kill` | a tenant did not end after its stop signal, and is killed | |
//! | `broker_crash` | a broker was killed | |
//! | `service_start` | the service was started | tenants, socket |
//! | `service_reload` | the configuration was reloaded, or has errors | added, changed, removed |
//! | `metrics_end` | the process that exports metrics failed | reason |
//! | `service_end` | the service was asked to end, and has ended | |
//!
//! `id` numbers the instances of a tenant, `tid` is the calling thread, `worker` a process id. `errno` is
//! present if the call was refused.

pub mod bound;
mod filter;
mod output;

pub use output::{print_line, print_message};

use clap::ValueEnum;
use filter::Bounded;
use output::Output;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people
    #[default]
    Text,
    /// One JSON object per event
    Json,
}

/// Target of the events of the room `service`.
const SERVICE: &str = concat!(env!("CARGO_CRATE_NAME"), "::service");

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Starts the log of a service. Events of the service itself are always logged, events within tenants by
/// `verbosity`, which counts the `-v`. In the journal, lines have no time of their own.
pub fn start_service(format: LogFormat, verbosity: u8) {
    let level = level(verbosity);
    let targets = Targets::new().with_default(level).with_target(SERVICE, level.max(LevelFilter::INFO));
    install(format, targets, std::env::var_os("JOURNAL_STREAM").is_some());
}

/// Starts the log. `verbosity` counts the `-v`.
pub fn start(format: LogFormat, verbosity: u8) {
    install(format, Targets::new().with_default(level(verbosity)), false);
}

fn install(format: LogFormat, targets: Targets, in_journal: bool) {
    let layer = fmt::layer().with_writer(Output(format)).with_target(false).with_ansi(false);
    let (filter, registry) = (targets.and(Bounded), tracing_subscriber::registry());
    // Fails if a test has started a log already.
    let _ = match (format, in_journal) {
        (LogFormat::Text, true) => registry.with(layer.without_time().with_filter(filter)).try_init(),
        (LogFormat::Text, false) => registry.with(layer.with_filter(filter)).try_init(),
        (LogFormat::Json, _) => {
            registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init()
        }
    };
}

/// Logs what was not logged: events beyond their bound, and lines that could not be written. To be called now and
/// then, and at the end with `all`.
pub fn report_missing(all: bool) {
    filter::report_left_out(all);
    output::report_lost();
}
