//! HTTP on a Unix socket, one request at a time.

use crate::live::metrics;
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most bytes of a request.
const MOST_REQUEST: usize = 8192;
/// Longest that one who asks is waited for: others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket with a name, which is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Listens at `path`, in place of one that is dead.
    ///
    /// # Errors
    /// If it is another one's, or cannot be made.
    pub fn bind(path: &Path) -> Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path) => {
                fs::remove_file(path).and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        let socket = socket.with_context(|| format!("cannot listen on {}", path.display()))?;
        // Who may look at the tenants may ask for them.
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, path: path.to_owned() })
    }

    /// Answers one request. Who does not ask, or take the answer, in time is left.
    pub fn answer(&self, text: impl FnOnce() -> Result<String>) {
        let Ok((mut stream, _)) = self.socket.accept() else { return };
        let Some(request) = request(&mut stream) else { return };
        let (status, body) = match (request.0.as_str(), request.1.as_str()) {
            ("GET" | "HEAD", "/" | "/metrics") => match text() {
                Ok(text) => ("200 OK", text),
                Err(error) => ("500 Internal Server Error", format!("{error:#}\n")),
            },
            ("GET" | "HEAD", _) => ("404 Not Found", "there is nothing but /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET and HEAD are answered\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.0 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            metrics::MEDIA_TYPE,
            body.len()
        );
        let body = if request.0 == "HEAD" { "" } else { &body };
        send(&mut stream, &[head.as_bytes(), body.as_bytes()].concat());
    }
}

/// Sends what is taken in time.
fn send(stream: &mut UnixStream, mut bytes: &[u8]) {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_write_timeout(Some(left)).is_err() {
            return;
        }
        match stream.write(bytes) {
            Ok(sent @ 1..) => bytes = &bytes[sent..],
            _ => return,
        }
    }
}

/// Whether nobody listens on this socket any more.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Method and path of a request, its head read to the end.
fn request(stream: &mut UnixStream) -> Option<(String, String)> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk) {
            Ok(read @ 1..) if bytes.len() + read <= MOST_REQUEST => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = str::from_utf8(line).ok()?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned()))
}
