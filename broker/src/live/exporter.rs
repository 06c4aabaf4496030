//! `kcov-broker metrics`: the counters for Prometheus, once or for as long as it runs.

use super::metrics;
use super::selection::Selection;
use crate::run::parse_time;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Most bytes of a request.
const MOST_REQUEST: usize = 8192;
/// Longest that one who asks is waited for: others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Print the counters of the tenants in Prometheus' text format, or keep them in a file or behind a socket
#[derive(Debug, clap::Args)]
pub struct MetricsArgs {
    #[command(flatten)]
    selection: Selection,

    /// Write to FILE instead, which is replaced whole: for the node exporter, in its textfile directory as NAME.prom
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Write to FILE again and again, until SIGTERM; in seconds or with a unit (500ms, 2s)
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "file")]
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
    match (&args.file, &args.listen) {
        (None, None) => std::io::stdout().write_all(text(args)?.as_bytes())?,
        (Some(file), None) if args.every.is_none() => replace(file, &text(args)?)?,
        (_, socket) => serve(args, socket.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(args: &MetricsArgs) -> Result<String> {
    Ok(metrics::text(&args.selection.find_any()?))
}

/// Replaces `file`, so that who reads it finds the old or the new text, whole.
fn replace(file: &Path, text: &str) -> Result<()> {
    let name = file.file_name().with_context(|| format!("{} is no name of a file", file.display()))?;
    // Not ending like the file: the node exporter reads what ends in .prom.
    let unfinished = file.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
        new.write_all(text.as_bytes())?;
        fs::rename(&unfinished, file)
    };
    write()
        .inspect_err(|_| _ = fs::remove_file(&unfinished))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn serve(args: &MetricsArgs, socket: Option<&Path>) -> Result<()> {
    let (signalled, signal) = UnixStream::pair()?;
    for number in [SIGTERM, SIGINT] {
        pipe::register(number, signal.try_clone()?)?;
    }
    let listener = socket.map(Listener::bind).transpose()?;
    let mut due = Instant::now();
    loop {
        if let Some(file) = args.file.as_ref().filter(|_| Instant::now() >= due) {
            replace(file, &text(args)?)?;
            due = Instant::now() + args.every.unwrap_or(Duration::from_secs(15));
        }
        let left = match &args.file {
            Some(_) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()))?,
            None => PollTimeout::NONE,
        };
        let mut fds = vec![PollFd::new(signalled.as_fd(), PollFlags::POLLIN)];
        fds.extend(listener.iter().map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, left) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => bail!("poll: {errno}"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or_default()).collect();
        if ready[0] {
            return Ok(());
        }
        if let Some(listener) = listener.as_ref().filter(|_| ready[1]) {
            listener.answer(|| text(args));
        }
    }
}

/// A socket with a name, which is removed with it.
struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listener {
    fn bind(path: &Path) -> Result<Self> {
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
    fn answer(&self, text: impl FnOnce() -> Result<String>) {
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
