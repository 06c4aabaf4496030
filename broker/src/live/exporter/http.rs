//! A minimal HTTP server on a Unix socket: one request at a time.

use crate::live::metrics;
use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Maximum size of a request, in bytes.
const MAX_REQUEST: usize = 8192;
/// Time limit for each request and each answer: other clients wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// A listening socket. Dropping it removes its file.
#[derive(Debug)]
pub struct HttpSocket {
    socket: UnixListener,
    path: PathBuf,
}

impl AsFd for HttpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for HttpSocket {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = fs::remove_file(&self.path);
    }
}

impl HttpSocket {
    /// Listens at `path`. Replaces a socket on which no process listens any more.
    ///
    /// # Errors
    /// If another process listens there, or the socket cannot be created.
    pub fn bind(path: &Path) -> Result<Self> {
        // Everyone who may list the tenants may read their counters. A change of the mode after the bind could
        // reach another file, by a link that the owner of the folder has put in its place.
        let before = umask(Mode::from_bits_truncate(0o111));
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path) => {
                fs::remove_file(path).and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        umask(before);
        let socket = socket.with_context(|| format!("cannot listen on {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(HttpSocket { socket, path: path.to_owned() })
    }

    /// Answers one request. Drops clients that are slower than [`PATIENCE`].
    pub fn answer(&self, text: impl FnOnce() -> Result<String>) {
        let Ok((mut stream, _)) = self.socket.accept() else { return };
        let Some(request) = request(&mut stream) else { return };
        let (status, body) = match (request.0.as_str(), request.1.as_str()) {
            ("GET" | "HEAD", "/" | "/metrics") => match text() {
                Ok(text) => ("200 OK", text),
                Err(error) => ("500 Internal Server Error", format!("{error:#}\n")),
            },
            ("GET" | "HEAD", _) => ("404 Not Found", "not found: use /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET and HEAD are supported\n".to_owned()),
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

/// Sends as much as the client reads in time.
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

/// Whether `path` is a socket on which no process listens.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Reads the head of a request; returns its method and path.
fn request(stream: &mut UnixStream) -> Option<(String, String)> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk) {
            Ok(read @ 1..) if bytes.len() + read <= MAX_REQUEST => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = str::from_utf8(line).ok()?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned()))
}
