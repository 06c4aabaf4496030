//! `kcov-broker metrics`: prints the counters for Prometheus, or exports them until a signal.

use crate::config::service::METRICS_INTERVAL;
use crate::launch::parse;
use crate::live::exporter::Exporter;
use crate::live::selection::Selection;
use crate::service::control::socket;
use crate::service::metrics_process::service_tenants;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Print the counters of the tenants in Prometheus' text format, or export them to a file or a socket
///
/// Includes tenants that do not run if they belong to your own service (`kcov-broker serve`) or, for root, to the
/// system's.
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsArgs {
    #[command(flatten)]
    selection: Selection,

    /// Write to FILE and replace it atomically; for the node exporter, name it NAME.prom in its textfile directory
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Rewrite FILE at this interval until SIGTERM; in seconds or with a unit (500ms, 2s)
    #[arg(long, value_name = "TIME", value_parser = parse::time, requires = "file")]
    every: Option<Duration>,

    /// Answer HTTP requests on this Unix socket until SIGTERM
    #[arg(long, value_name = "SOCKET")]
    listen: Option<PathBuf>,
}

/// Prints or writes the counters once, or exports them until a signal.
///
/// # Errors
/// If the segments cannot be listed, the file cannot be written, or the socket cannot be created.
pub fn run(args: MetricsArgs) -> Result<ExitCode> {
    let MetricsArgs { selection, file, every, listen } = args;
    let once = every.is_none() && listen.is_none();
    let control = socket::default_path().ok();
    let service = || control.as_deref().map(service_tenants).unwrap_or_default();
    let exporter =
        Exporter { selection, service: &service, file, every: every.unwrap_or(METRICS_INTERVAL), listen };
    if once {
        exporter.write_once()?
    } else {
        exporter.serve()?
    }
    Ok(ExitCode::SUCCESS)
}
