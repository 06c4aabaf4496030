//! `kcov-broker metrics`: the counters for Prometheus, once or for as long as it runs.

use super::metrics;
use super::selection::Selection;
use crate::config::service::METRICS_INTERVAL;
use crate::launch::parse;
use crate::service::control;
use anyhow::{Context, Result, bail};
use listener::Listener;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod listener;

/// Print the counters of the tenants in Prometheus' text format, or keep them in a file or behind a socket
///
/// Of your own service (`kcov-broker serve`), or as root of the system's, tenants that do not run are told as well.
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsArgs {
    #[command(flatten)]
    selection: Selection,

    /// Write to FILE instead, which is replaced whole: for the node exporter, in its textfile directory as NAME.prom
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Write to FILE again and again, until SIGTERM; in seconds or with a unit (500ms, 2s)
    #[arg(long, value_name = "TIME", value_parser = parse::time, requires = "file")]
    every: Option<Duration>,

    /// Answer HTTP requests on this Unix socket instead, until SIGTERM
    #[arg(long, value_name = "SOCKET")]
    listen: Option<PathBuf>,
}

/// Prints, or serves until a signal says to end.
///
/// # Errors
/// If tenants cannot be looked for, the file not written, or the socket not made.
pub fn run(args: &MetricsArgs) -> Result<ExitCode> {
    let MetricsArgs { selection, file, every, listen } = args.clone();
    let service = control::socket::default_path().ok();
    match (&file, &listen) {
        (None, None) => std::io::stdout().write_all(text(&selection, &service)?.as_bytes())?,
        (Some(file), None) if every.is_none() => replace(file, &text(&selection, &service)?)?,
        _ => {
            Exporter { selection, service, file, every: every.unwrap_or(METRICS_INTERVAL), listen }.serve()?
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What brokers show, and what the service with this control socket knows of its tenants, if it lives.
fn text(selection: &Selection, service: &Option<PathBuf>) -> Result<String> {
    let tenants = service.as_ref().and_then(|socket| control::client::tenants(socket).ok());
    let mut tenants = tenants.unwrap_or_default();
    tenants.retain(|status| selection.names.is_empty() || selection.names.contains(&status.name));
    Ok(metrics::text(&selection.find_any()?, &tenants))
}

/// Replaces `file`, so that who reads it finds the old or the new text, whole.
fn replace(file: &Path, text: &str) -> Result<()> {
    let name = file.file_name().with_context(|| format!("{} is no name of a file", file.display()))?;
    // Not ending like the file: the node exporter reads what ends in .prom.
    let unfinished = file.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
        new.write_all(text.as_bytes())?;
        // The mode of a new file is what umask(2) leaves of it; who may look at the tenants may read of them.
        new.set_permissions(Permissions::from_mode(0o644))?;
        fs::rename(&unfinished, file)
    };
    write()
        .inspect_err(|_| _ = fs::remove_file(&unfinished))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Keeps the counters in a file, and tells them behind a socket.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// Of which tenants.
    pub selection: Selection,
    /// The control socket of a service, whose tenants that do not run are told as well.
    pub service: Option<PathBuf>,
    /// The file, if there is to be one.
    pub file: Option<PathBuf>,
    /// Time between two writes of it.
    pub every: Duration,
    /// The socket, if there is to be one.
    pub listen: Option<PathBuf>,
}

impl Exporter {
    /// Does so until a signal says to end. Then the socket is gone; the file stays as it was written last.
    ///
    /// # Errors
    /// If tenants cannot be looked for, the file not written, or the socket not made.
    pub fn serve(&self) -> Result<()> {
        let (signalled, signal) = UnixStream::pair()?;
        for number in [SIGTERM, SIGINT] {
            pipe::register(number, signal.try_clone()?)?;
        }
        let listener = self.listen.as_deref().map(Listener::bind).transpose()?;
        let mut due = Instant::now();
        loop {
            if let Some(file) = self.file.as_ref().filter(|_| Instant::now() >= due) {
                replace(file, &text(&self.selection, &self.service)?)?;
                due = Instant::now() + self.every;
            }
            let left = match &self.file {
                Some(_) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()))?,
                None => PollTimeout::NONE,
            };
            let mut fds = vec![PollFd::new(signalled.as_fd(), PollFlags::POLLIN)];
            fds.extend(listener.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, left) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => bail!("poll: {errno}"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or_default()).collect();
            if ready[0] {
                return Ok(());
            }
            if let Some(listener) = listener.as_ref().filter(|_| ready[1]) {
                listener.answer(|| text(&self.selection, &self.service));
            }
        }
    }
}
