//! A minimal HTTP server on a Unix socket. It serves many clients at once and never waits for one.

use crate::live::metrics;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::{Mode, umask};
use std::cell::LazyCell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Maximum size of a request, in bytes.
const MAX_REQUEST: usize = 8192;
/// Time limit for a client, from its connection to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of clients at once.
const MAX_CLIENTS: usize = 128;

/// A listening socket. Dropping it removes its file.
#[derive(Debug)]
pub struct HttpSocket {
    socket: UnixListener,
    path: PathBuf,
    /// The clients, oldest first.
    clients: Vec<Client>,
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
        Ok(HttpSocket { socket, path: path.to_owned(), clients: Vec::new() })
    }

    /// The descriptors that it waits for.
    pub fn waits(&self) -> impl Iterator<Item = PollFd<'_>> {
        let accept = PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
        std::iter::once(accept).chain(self.clients.iter().map(Client::waits))
    }

    /// When a client exceeds its time limit.
    pub fn due(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.until).min()
    }

    /// Serves all clients as far as that does not block. Drops those that exceed their time limit.
    pub fn advance(&mut self, text: impl FnOnce() -> Result<String>) {
        while let Ok((stream, _)) = self.socket.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                // The oldest one: it had the most time.
                self.clients.remove(0);
            }
            self.clients.extend(Client::new(stream));
        }
        // All requests of now get the same text.
        let metrics = LazyCell::new(|| Response::new(text()));
        let now = Instant::now();
        self.clients.retain_mut(|client| client.until > now && client.advance(&metrics));
    }
}

/// A client.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// Its time limit.
    until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// What was received of the request.
    Receiving(Vec<u8>),
    /// The answer, and how much of it was sent.
    Sending(Rc<[u8]>, usize),
}

impl Client {
    fn new(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Client { stream, until: Instant::now() + PATIENCE, state: State::Receiving(Vec::new()) })
    }

    fn waits(&self) -> PollFd<'_> {
        let flags =
            if matches!(self.state, State::Receiving(_)) { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        PollFd::new(self.stream.as_fd(), flags)
    }

    /// Receives and sends what is possible now. Returns whether something is left to do.
    fn advance(&mut self, metrics: &impl Deref<Target = Response>) -> bool {
        if let State::Receiving(bytes) = &mut self.state {
            match receive(&mut self.stream, bytes) {
                Ok(false) => return true,
                Ok(true) => {
                    let Some(answer) = request(bytes).map(|(method, path)| answer(&method, &path, metrics))
                    else {
                        return false;
                    };
                    self.state = State::Sending(answer, 0);
                }
                Err(_) => return false,
            }
        }
        let State::Sending(bytes, sent) = &mut self.state else { return true };
        while *sent < bytes.len() {
            match self.stream.write(&bytes[*sent..]) {
                Ok(written @ 1..) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Ok(_) | Err(_) => return false,
            }
        }
        false
    }
}

/// Receives what is there. Returns whether the request is complete.
fn receive(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut chunk = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(read @ 1..) if bytes.len() + read <= MAX_REQUEST => bytes.extend_from_slice(&chunk[..read]),
            Ok(_) => return Err(ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// An answer, encoded.
#[derive(Debug)]
struct Response(Rc<[u8]>);

impl Response {
    /// The metrics, or why there are none.
    fn new(text: Result<String>) -> Self {
        match text {
            Ok(text) => Self::encode("GET", "200 OK", &text),
            Err(error) => Self::encode("GET", "500 Internal Server Error", &format!("{error:#}\n")),
        }
    }

    fn encode(method: &str, status: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.0 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            metrics::MEDIA_TYPE,
            body.len()
        );
        let body = if method == "HEAD" { "" } else { body };
        Response([head.as_bytes(), body.as_bytes()].concat().into())
    }
}

fn answer(method: &str, path: &str, metrics: &impl Deref<Target = Response>) -> Rc<[u8]> {
    match (method, path) {
        ("GET", "/" | "/metrics") => metrics.0.clone(),
        ("HEAD", "/" | "/metrics") => {
            let end = metrics.0.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
            metrics.0[..end].into()
        }
        ("GET" | "HEAD", _) => Response::encode(method, "404 Not Found", "not found: use /metrics\n").0,
        _ => Response::encode(method, "405 Method Not Allowed", "only GET and HEAD are supported\n").0,
    }
}

/// Whether `path` is a socket on which no process listens.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Parses the head of a request; returns its method and path.
fn request(bytes: &[u8]) -> Option<(String, String)> {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = str::from_utf8(line).ok()?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned()))
}
