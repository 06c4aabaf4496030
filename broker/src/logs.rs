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
//! | `worker_crash` | a worker ended | worker, tid, call, signal, reason |
//! | `reader_stuck` | a reader was past its deadline | worker |
//! | `zygote_crash` | a zygote ended | error |
//!
//! `id` numbers the instances of a tenant, `tid` is the calling thread, `worker` a process id; `errno` is there if the
//! call was refused.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line an event, for people.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// Starts logging; `verbosity` counts the `-v`.
pub fn start(format: LogFormat, verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let builder = fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // A second start, in a test, keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
