//! Output to the journal (`systemd-journald.service(8)`). Each tenant has its own stream, so that its lines
//! can be selected (`journalctl -t TENANT`) and cannot pass for lines of the service.

use nix::sys::stat::fstat;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The socket on which journald accepts streams.
const SOCKET: &str = "/run/systemd/journal/stdout";
/// Priority of every line: `LOG_INFO` (`syslog.h`).
const PRIORITY: u8 = 6;

/// Whether standard error of this process is a stream of the journal. `JOURNAL_STREAM` contains its device
/// and inode (`systemd.exec(5)`); they differ if standard error was redirected since.
#[must_use]
pub fn is_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|facts| named == format!("{}:{}", facts.st_dev, facts.st_ino))
}

/// Opens a stream whose lines have the identifier `name`, which must not contain a line break; `None` if
/// there is no journal.
#[must_use]
pub fn stream(name: &str) -> Option<OwnedFd> {
    connect(Path::new(SOCKET), name).ok()
}

fn connect(socket: &Path, name: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.shutdown(Shutdown::Read)?;
    // The header that sd_journal_stream_fd(3) writes: identifier, unit (journald finds it itself), priority,
    // whether lines begin with a priority, and whether to forward them to syslog, the kernel's log and the
    // console.
    write!(stream, "{name}\n\n{PRIORITY}\n0\n0\n0\n0\n")?;
    Ok(stream.into())
}
