//! The journal (`systemd-journald.service(8)`): a stream of a tenant's own, so that its lines are told from those of others
//! (`journalctl -t TENANT`), and none can be taken for one of the service.

use nix::sys::stat::fstat;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where journald takes streams.
const SOCKET: &str = "/run/systemd/journal/stdout";
/// `LOG_INFO` (`syslog.h`), for every line.
const PRIORITY: u8 = 6;

/// Whether standard error of this process is a stream of the journal: `JOURNAL_STREAM` names its device and inode
/// (`systemd.exec(5)`). A variable that was inherited with another standard error does not count.
#[must_use]
pub fn is_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|facts| named == format!("{}:{}", facts.st_dev, facts.st_ino))
}

/// A stream whose lines the journal shows as those of `name`, which has no line break in it; `None` if there is no journal.
#[must_use]
pub fn stream(name: &str) -> Option<OwnedFd> {
    connect(Path::new(SOCKET), name).ok()
}

fn connect(socket: &Path, name: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.shutdown(Shutdown::Read)?;
    // As sd_journal_stream_fd(3) writes it: name, unit (journald sees it), priority, whether lines begin with one, and
    // whether they go on to syslog, the kernel's log and the console.
    write!(stream, "{name}\n\n{PRIORITY}\n0\n0\n0\n0\n")?;
    Ok(stream.into())
}
