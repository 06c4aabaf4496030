//! `kcov-broker metrics`: text in the Prometheus format, printed, kept in a file, and served on a socket.

use anyhow::{Context, Result, bail, ensure};
use kcov_tests::live::{CALLS, Client, Planted, Status, path};
use kcov_tests::{Session, until};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(60);

type Labels = BTreeMap<String, String>;

/// The samples of a text, by name and labels.
#[derive(Debug, Default)]
struct Exposition {
    kinds: HashMap<String, String>,
    samples: HashMap<(String, Labels), f64>,
}

/// Parses the text format 0.0.4, and rejects everything that the format does not allow.
fn parse(text: &str) -> Result<Exposition> {
    let mut found = Exposition::default();
    let (mut helped, mut family) = (HashSet::new(), String::new());
    ensure!(text.ends_with('\n'), "the last line has no newline");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').context("HELP without a text")?;
            ensure!(is_name(name) && !help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("TYPE without a type")?;
            ensure!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
            ensure!(found.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            family = name.to_owned();
        } else {
            let (name, labels, value) = sample(line).with_context(|| line.to_owned())?;
            let suffixes: &[&str] = match found.kinds.get(&family).map(String::as_str) {
                Some("histogram") => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let rest = name.strip_prefix(&family).with_context(|| format!("not of {family}: {line}"))?;
            ensure!(suffixes.contains(&rest), "not of {family}: {line}");
            ensure!(found.samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    check_histograms(&found)?;
    Ok(found)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Result<(String, Labels, f64)> {
    let (name, mut rest) = line.split_once('{').context("no labels")?;
    ensure!(is_name(name), "no name");
    let mut labels = Labels::new();
    loop {
        let (label, value) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(label), "no label");
        let (value, after) = quoted(value)?;
        ensure!(labels.insert(label.to_owned(), value).is_none(), "a duplicate label");
        match after.split_at_checked(1) {
            Some((",", more)) => rest = more,
            Some(("}", end)) => {
                let value = end.strip_prefix(' ').context("no value")?;
                return Ok((name.to_owned(), labels, value.parse()?));
            }
            _ => bail!("an unterminated label"),
        }
    }
}

/// Returns the value up to its closing quote, and the rest.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => bail!("unknown escape"),
            },
            c => value.push(c),
        }
    }
    bail!("an unterminated string")
}

/// Asserts that buckets are cumulative and add up to the count.
fn check_histograms(found: &Exposition) -> Result<()> {
    for (name, _) in found.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
        let mut series: HashMap<Labels, Vec<(f64, f64)>> = HashMap::new();
        for ((bucket, labels), count) in &found.samples {
            if bucket == &format!("{name}_bucket") {
                let mut labels = labels.clone();
                let le = labels.remove("le").context("a bucket without le")?.parse()?;
                series.entry(labels).or_default().push((le, *count));
            }
        }
        for (labels, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            ensure!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} falls: {buckets:?}");
            let (le, all) = buckets.last().context("no bucket")?;
            let count = found.samples.get(&(format!("{name}_count"), labels)).context("no count")?;
            ensure!(*le == f64::INFINITY && all == count, "{name} does not add up: {buckets:?}");
        }
    }
    Ok(())
}

impl Exposition {
    /// The only sample of this name with these label values.
    fn of(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |given: &Labels| {
            labels.iter().all(|(name, value)| given.get(*name).is_some_and(|it| it == value))
        };
        let mut found = self.samples.iter().filter(|((of, given), _)| of == name && has(given));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(*value)
    }
}

fn metrics(session: &Session, arguments: &[&str]) -> Command {
    let mut command = Command::new(session.path("kcov-broker"));
    command.arg("metrics").args(arguments);
    command
}

/// A program that runs until it gets a signal.
struct Serving(Child);

impl Serving {
    fn start(mut command: Command) -> Result<Self> {
        Ok(Serving(command.stdout(Stdio::null()).spawn()?))
    }

    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let status = until("the program to end", WITHIN, || self.0.try_wait().ok().flatten())?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended, unless a test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn metrics_report_what_the_tenant_did() -> Result<()> {
    let name = "a\"b\\n{c}";
    let client = Client::start(&["--name", name])?;
    let tenant = client.tenant_after_calls()?;
    let output = metrics(&client.running.session, &[]).output()?;
    assert!(output.status.success(), "{output:?}");
    let found = parse(&String::from_utf8(output.stdout)?)?;
    let pid = tenant.pid.to_string();
    let labels = [("tenant", name), ("pid", pid.as_str()), ("user", "root")];
    let of = |metric: &str, more: &[(&str, &str)]| found.of(metric, &[&labels, more].concat());
    assert_eq!(of("kcov_tenant_up", &[]), Some(1.0));
    assert_eq!(of("kcov_tenant_notifications_total", &[("kind", "trace")]), Some(CALLS as f64));
    assert_eq!(of("kcov_tenant_notification_seconds_count", &[]), Some(tenant.timed() as f64));
    assert!(of("kcov_tenant_notification_seconds_sum", &[]).is_some_and(|sum| sum > 0.0));
    assert_eq!(of("kcov_tenant_records_lost_total", &[]), Some(tenant.records_lost as f64));
    assert_eq!(of("kcov_tenant_quota_refusals_total", &[("quota", "handles")]), Some(0.0));
    assert_eq!(of("kcov_tenant_arena_bytes", &[]), Some(tenant.arena_bytes as f64));
    client.finish()
}

/// A reader of the file finds a complete text at any time.
#[test]
fn the_file_is_complete_at_any_time() -> Result<()> {
    let client = Client::start(&["--name", "metrics-file"])?;
    let segment = client.tenant_after_calls()?.segment;
    let session = &client.running.session;
    let file = session.path("kcov.prom");
    let path = file.to_string_lossy();
    assert!(metrics(session, &["--file", &path]).status()?.success());
    let first = fs::metadata(&file)?.modified()?;
    let serving = Serving::start(metrics(session, &["--file", &path, "--every", "20ms"]))?;
    until("many new files", WITHIN, || {
        let text = fs::read_to_string(&file).expect("the file always exists");
        let found = parse(&text).expect("a complete text");
        assert_eq!(found.of("kcov_tenant_up", &[("segment", &segment)]), Some(1.0));
        let age = fs::metadata(&file).ok()?.modified().ok()?.duration_since(first).ok()?;
        (age > Duration::from_millis(500)).then_some(())
    })?;
    serving.end()?;
    let left =
        fs::read_dir(session.directory())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(left.filter(|name| name.contains(".prom")).collect::<Vec<_>>(), ["kcov.prom"]);
    client.finish()
}

fn ask(socket: &Path, request: &str) -> Result<(String, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Segments that dead brokers of other PID namespaces left, with the same tenant, user and pid, are no second series,
/// and are removed. One whose broker lives, as its lock shows, stays.
#[test]
fn segments_of_other_pid_namespaces_do_not_repeat_a_series() -> Result<()> {
    let client = Client::start(&["--name", "metrics-namespaces"])?;
    let tenant = client.tenant_after_calls()?;
    let session = &client.running.session;
    let plant = |what: &str| -> Result<Planted> {
        let planted = Planted::name(0, what);
        fs::copy(path(&tenant.segment), planted.path())?;
        // The third word of the body; see `kcov_proto::view`.
        let file = fs::File::options().write(true).open(planted.path())?;
        file.write_all_at(&[7; 8], (8 + 2) * 8)?;
        Ok(planted)
    };
    let (dead, other, live) = (plant("namespace-1")?, plant("namespace-2")?, plant("namespace-3")?);
    let lock = fs::File::options().write(true).open(live.path())?;
    let whole = libc::flock { l_type: libc::F_WRLCK as _, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&whole))?;
    let status = Status::now(session)?;
    let state = |planted: &Planted| status.of(&planted.segment).map(|tenant| tenant.state.clone());
    // Another test may have removed them already.
    assert!([&dead, &other].into_iter().filter_map(state).all(|state| state == "dead"));
    assert_ne!(state(&live), Some("dead".to_owned()));

    let output = metrics(session, &[]).output()?;
    let found = parse(&String::from_utf8(output.stdout)?)?;
    let of = |segment: &str| found.of("kcov_tenant_assists_total", &[("segment", segment)]);
    assert!(of(&tenant.segment).is_some() && of(&live.segment).is_some());
    assert!(of(&dead.segment).is_none() && of(&other.segment).is_none());
    assert_eq!(found.of("kcov_tenant_up", &[("segment", &dead.segment)]), None);
    assert!(!dead.path().exists() && !other.path().exists() && live.path().exists());
    client.finish()
}

#[test]
fn the_socket_serves_http_requests() -> Result<()> {
    let client = Client::start(&["--name", "metrics-socket"])?;
    let segment = client.tenant_after_calls()?.segment;
    let session = &client.running.session;
    let socket = session.path("socket");
    // A stale socket that no process listens on is replaced.
    drop(UnixListener::bind(&socket)?);
    let arguments = ["--listen", &socket.to_string_lossy()];
    let serving = Serving::start(metrics(session, &arguments))?;
    until("a listener on the socket", WITHIN, || UnixStream::connect(&socket).ok().map(drop))?;

    let (head, body) = ask(&socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert_eq!(parse(&body)?.of("kcov_tenant_up", &[("segment", &segment)]), Some(1.0));
    assert!(ask(&socket, "GET /other HTTP/1.0\r\n\r\n")?.0.starts_with("HTTP/1.0 404 "));
    assert!(ask(&socket, "POST /metrics HTTP/1.0\r\n\r\n")?.0.starts_with("HTTP/1.0 405 "));
    assert_eq!(ask(&socket, "HEAD / HTTP/1.0\r\n\r\n")?.1, "");

    // Clients that send nothing, read nothing, or send without end do not hold up other clients.
    let silent: Vec<_> = (0..50).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    let deaf: Vec<_> = (0..50).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    deaf.iter().try_for_each(|mut stream| stream.write_all(b"GET / HTTP/1.0\r\n\r\n"))?;
    let mut endless = UnixStream::connect(&socket)?;
    // The server closes its connection.
    let _ = endless.write_all(&[b'x'; 1 << 16]);
    let asked = Instant::now();
    assert!(ask(&socket, "GET / HTTP/1.0\r\n\r\n")?.0.starts_with("HTTP/1.0 200 "));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    drop((silent, deaf, endless));

    // A socket with a live listener is not taken over.
    let second = metrics(session, &arguments).output()?;
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot listen on"), "{second:?}");
    assert!(ask(&socket, "GET / HTTP/1.0\r\n\r\n").is_ok());
    serving.end()?;
    assert!(!socket.exists());
    client.finish()
}
