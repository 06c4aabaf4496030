//! Tenants that this machine cannot run fail with the reason, and the others run.

use anyhow::Result;
use kcov_tests::Session;
use kcov_tests::service::{Service, tenant};
use nix::sys::signal::Signal;
use std::fs;

/// Name, keys, and parts of the message.
const BROKEN: [(&str, &str, &[&str]); 7] = [
    ("library", "handlers = [\"none.so\"]", &["config.toml:", "tenant.handlers", "none.so"]),
    ("text", "handlers = [\"text.so\"]", &["text.so", "cannot be loaded"]),
    ("worker", "worker = \"/no/such/worker\"", &["tenant.worker", "/no/such/worker"]),
    ("shell", "worker = \"text.so\"", &["text.so"]),
    ("user", "user = \"no-such-user\"", &["tenant.user", "no-such-user", "useradd"]),
    ("directory", "directory = \"/no/such\"", &["directory /no/such"]),
    ("artifacts", "artifacts = \"text.so/crashes\"", &["tenant.artifacts", "text.so"]),
];

fn broken() -> String {
    let keys = "restart-delay = \"20ms\"\nrestart-max = 1";
    let tenants =
        BROKEN.map(|(name, broken, _)| tenant(name, &["sleep", "1000"], &format!("{keys}\n{broken}")));
    tenants.concat() + &tenant("command", &["/no/such/program"], keys)
}

fn assert_reported(service: &Service) -> Result<()> {
    let list = |name| service.wait(name, "failed", |tenant| tenant.state == "failed");
    for (name, _, parts) in BROKEN {
        let tenant = list(name)?;
        let said = tenant.message.clone().unwrap_or_default();
        assert_eq!((tenant.starts, tenant.failures, tenant.last_status), (2, 2, Some(125)), "{tenant:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
    }
    let command = list("command")?;
    assert_eq!(command.last_status, Some(127), "{command:?}");
    let table = service.ordered(&["list"])?;
    assert!(table.contains("because") && table.contains("/no/such/worker"), "{table}");
    Ok(())
}

/// At the start of the service.
#[test]
fn a_tenant_that_cannot_run_does_not_affect_others() -> Result<()> {
    let session = Session::new()?;
    fs::write(session.path("text.so"), "no library\n")?;
    let tenants = broken() + &tenant("good", &["sleep", "1000"], "");
    let service = Service::start_in(session, &tenants, &[], &[])?;
    service.wait_state("good", "running")?;
    assert_reported(&service)?;
    // The missing program exists now: the operator restarts the tenant.
    std::os::unix::fs::symlink("/bin/sleep", service.session.path("program"))?;
    service.configure(
        &tenants.replace("/no/such/program", &service.session.path("program").to_string_lossy()),
    )?;
    service.signal(Signal::SIGHUP)?;
    service.wait("command", "started in the end", |tenant| tenant.starts == 3)?;
    assert_eq!(service.tenant("good")?.starts, 1);
    let log = service.stop()?;
    assert!(log.contains("the service has ended"), "{log}");
    Ok(())
}

/// At a reload of the configuration.
#[test]
fn a_reload_with_failing_tenants_does_not_affect_others() -> Result<()> {
    let good = tenant("good", &["sleep", "1000"], "");
    let service = Service::start(&good)?;
    service.wait_state("good", "running")?;
    fs::write(service.session.path("text.so"), "no library\n")?;
    service.configure(&(good + &broken()))?;
    service.signal(Signal::SIGHUP)?;
    assert_reported(&service)?;
    let good = service.tenant("good")?;
    assert_eq!((good.state.as_str(), good.starts), ("running", 1));
    service.stop()?;
    Ok(())
}

/// A configuration with errors in its text starts nothing.
#[test]
fn an_invalid_configuration_starts_nothing() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("config.toml");
    fs::write(&file, tenant("one", &["true"], "deadline = 0") + &tenant("one", &["true"], "colour = 1"))?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.args(["serve", "--config"]).arg(&file).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for part in
        ["config.toml:4: tenant.deadline", "config.toml:6: tenant.name", "config.toml:8: tenant.colour"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

/// The end of a run is still reported while the next one is under way.
#[test]
fn the_end_of_the_last_run_is_reported() -> Result<()> {
    let session = Session::new()?;
    let once = session.path("once");
    let script = format!("if mkdir {once:?}; then kill -SEGV $$; fi; sleep 1000");
    let tenants = tenant("one", &["bash", "-c", &script], "restart-delay = \"20ms\"");
    let service = Service::start_in(session, &tenants, &[], &[])?;
    let one =
        service.wait("one", "running again", |tenant| tenant.starts == 2 && tenant.state == "running")?;
    assert_eq!((one.last_status, one.failures), (Some(139), 1), "{one:?}");
    assert!(one.last_end_ms.is_some() && one.last_run_ms.is_some(), "{one:?}");
    let said = service.ordered(&["status", "one"])?;
    assert!(said.contains("139 SIGSEGV") && said.contains(" ago, ran for "), "{said}");
    service.stop()?;
    Ok(())
}
