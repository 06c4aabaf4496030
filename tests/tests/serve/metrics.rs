//! The service exports its tenants' counters for Prometheus.

use anyhow::{Context, Result};
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Session, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

fn fetch(socket: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

/// In a file and on a socket, as long as the service runs, by a separate process that is replaced when it
/// dies and holds nothing of the service.
#[test]
fn a_service_exports_its_counters() -> Result<()> {
    let session = Session::new()?;
    let (file, socket) = (session.path("kcov.prom"), session.path("prometheus"));
    let metrics = format!("[serve.metrics]\nfile = {file:?}\nevery = \"50ms\"\nlisten = {socket:?}\n");
    let down = tenant("down", &["false"], "restart = \"never\"");
    let config = metrics + &tenant("shown", &["sleep", "1000"], "") + &down;
    let service = Service::start_in(session, &config, &[], &[])?;
    service.wait_state("shown", "running")?;
    service.wait_state("down", "failed")?;
    let is_shown = |text: &str| {
        text.lines().any(|line| line.starts_with("kcov_tenant_up{tenant=\"shown\"") && line.ends_with(" 1"))
    };
    until("the tenant in the file", WITHIN, || fs::read_to_string(&file).ok().filter(|text| is_shown(text)))?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o644);
    let said = fetch(&socket).context("no answer")?;
    assert!(said.starts_with("HTTP/1.0 200 OK\r\n") && is_shown(&said), "{said}");

    let exporter = service.session.named("kcov-metrics").first().copied().context("no process")?;
    let links = fs::read_dir(format!("/proc/{}/fd", exporter.0))?.flatten();
    let foreign: Vec<_> = links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter(|target| target.to_string_lossy().contains("signalfd"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let down = [
        "kcov_tenant_up{tenant=\"down\"} 0",
        "kcov_service_tenant_state{tenant=\"down\",state=\"failed\"} 1",
        "kcov_service_tenant_last_exit_status{tenant=\"down\"} 1",
        "kcov_service_tenant_starts_total{tenant=\"shown\"} 1",
    ];
    for line in down {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert_eq!(said.matches("kcov_tenant_up{tenant=\"shown\"").count(), 1, "{said}");
    // The service notices its death, and nothing else is affected.
    kill(Pid::from_raw(exporter.0), Signal::SIGKILL)?;
    until("the log entry of its end", WITHIN, || service.log().contains("metrics_end").then_some(()))?;
    assert_eq!(service.tenant("shown")?.starts, 1);
    until("another exporter", WITHIN, || {
        service.session.named("kcov-metrics").iter().any(|process| *process != exporter).then_some(())
    })?;
    until("its answer", WITHIN, || fetch(&socket).filter(|said| is_shown(said)))?;
    let gone = [file, socket];
    service.stop()?;
    for path in gone {
        assert!(!path.exists(), "{path:?} is left");
    }
    Ok(())
}
