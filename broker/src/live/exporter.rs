//! Exports the counters for Prometheus: to a file, and over HTTP on a Unix socket.

mod http;

use super::catalogue;
use super::metrics::{self, ServiceTenant};
use super::selection::Selection;
use crate::launch::folder::Folder;
use anyhow::{Context, Result, bail};
use http::HttpSocket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs::Permissions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is exported, and where to.
pub struct Exporter<'a> {
    /// The tenants to export.
    pub selection: Selection,
    /// Returns the tenants of a service, including those that do not run; none if there is no service.
    pub service: &'a dyn Fn() -> Vec<ServiceTenant>,
    /// File to write.
    pub file: Option<PathBuf>,
    /// Time between two writes of the file.
    pub every: Duration,
    /// Path of a Unix socket on which HTTP requests are answered.
    pub listen: Option<PathBuf>,
}

impl Exporter<'_> {
    /// Writes the counters once: to the file, or to standard output if there is none.
    ///
    /// # Errors
    /// If the segments cannot be listed, or the file cannot be written.
    pub fn write_once(&self) -> Result<()> {
        match &self.file {
            Some(file) => replace(file, &self.text()?),
            None => Ok(std::io::stdout().write_all(self.text()?.as_bytes())?),
        }
    }

    /// Exports until SIGTERM or SIGINT. Removes the socket at the end; the file remains as it was last written.
    ///
    /// # Errors
    /// If the segments cannot be listed, the file cannot be written, or the socket cannot be created.
    pub fn serve(&self) -> Result<()> {
        let (signalled, signal) = UnixStream::pair()?;
        for number in [SIGTERM, SIGINT] {
            pipe::register(number, signal.try_clone()?)?;
        }
        let mut socket = self.listen.as_deref().map(HttpSocket::bind).transpose()?;
        let mut due = Instant::now();
        loop {
            if let Some(file) = self.file.as_ref().filter(|_| Instant::now() >= due) {
                replace(file, &self.text()?)?;
                due = Instant::now() + self.every;
            }
            let file_due = self.file.as_ref().map(|_| due);
            let next = file_due.into_iter().chain(socket.as_ref().and_then(HttpSocket::due)).min();
            let mut fds = vec![PollFd::new(signalled.as_fd(), PollFlags::POLLIN)];
            fds.extend(socket.iter().flat_map(HttpSocket::waits));
            match poll(&mut fds, timeout(next)?) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => bail!("poll: {errno}"),
            }
            if fds[0].any().unwrap_or_default() {
                return Ok(());
            }
            drop(fds);
            if let Some(socket) = &mut socket {
                socket.advance(|| self.text());
            }
        }
    }

    fn text(&self) -> Result<String> {
        let names = &self.selection.names;
        let mut service = (self.service)();
        service.retain(|tenant| names.is_empty() || names.contains(&tenant.name));
        let selected = self.selection.find_any()?;
        // Brokers that were killed leave their segments, in containers for ever.
        catalogue::remove(selected.dead.iter().filter(|dead| !dead.is_recent), true);
        Ok(metrics::text(&selected, &service))
    }
}

/// The time until `next`, rounded up, so that the wait does not end just before it.
fn timeout(next: Option<Instant>) -> Result<PollTimeout> {
    let left = next.map(|next| next.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
    Ok(left.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from)?)
}

/// Removes the file, when nothing writes it any more.
pub fn withdraw(file: &Path) {
    // Fails if it has been removed already.
    let _ = Folder::of_file(file).map(|(folder, name)| folder.remove(&name));
}

/// Replaces `file` atomically: readers see the old or the new text, never a part of it. Follows no link in the
/// folder, which may belong to another user, such as that of the node exporter.
fn replace(file: &Path, text: &str) -> Result<()> {
    let named = || format!("cannot write {}", file.display());
    let (folder, name) = Folder::of_file(file).with_context(named)?;
    // Without the suffix .prom, so that the node exporter does not read it. Other exporters have other numbers.
    let number = RandomState::new().hash_one(file);
    let unfinished = format!(".{}.{number:016x}.new", name.display());
    let write = || -> Result<()> {
        let mut new = folder.create(&unfinished, 0o644)?;
        new.write_all(text.as_bytes())?;
        // Undo umask(2): everyone who may list the tenants may read their counters.
        new.set_permissions(Permissions::from_mode(0o644))?;
        Ok(folder.rename(&unfinished, &name)?)
    };
    write().inspect_err(|_| _ = folder.remove(Path::new(&unfinished))).with_context(named)
}
