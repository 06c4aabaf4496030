//! The operator's commands and their effects.

use anyhow::Result;
use kcov_tests::Session;
use kcov_tests::service::{Service, tenant};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[track_caller]
fn assert_refused(service: &Service, words: &[&str], parts: &[&str]) -> Result<()> {
    let output = service.order(words)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{words:?}: {said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    Ok(())
}

/// Tenants are added, stopped, restarted, listed and removed.
#[test]
fn tenants_are_added_stopped_restarted_and_listed() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    let first = service.wait_state("one", "running")?;
    assert!(first.configured && first.broker.is_some() && first.uid.is_some(), "{first:?}");
    service.add(&(tenant("two", &["sleep", "1000"], "") + &tenant("three", &["true"], "")))?;
    let names: Vec<_> = service.list()?.into_iter().map(|tenant| tenant.name).collect();
    assert_eq!(names, ["one", "three", "two"]);
    let two = service.tenant("two")?;
    assert!(two.state == "running" && !two.configured && two.uid != first.uid, "{two:?}");
    let table = service.ordered(&["list"])?;
    assert!(
        table.starts_with("NAME ") && table.contains("running") && table.contains("sleep 1000"),
        "{table}"
    );

    service.ordered(&["restart", "one"])?;
    let again = service.tenant("one")?;
    assert_eq!((again.state.as_str(), again.starts), ("running", 2), "{again:?}");
    assert!(
        again.broker != first.broker && again.uid == first.uid,
        "expected a new broker and the same uid: {again:?}"
    );

    service.ordered(&["stop", "one"])?;
    service.ordered(&["stop", "two"])?;
    // A tenant of the file stays listed after its stop; an added one does not.
    let one = service.tenant("one")?;
    assert_eq!((one.state.as_str(), one.broker, one.last_status), ("stopped", None, Some(143)), "{one:?}");
    assert_refused(&service, &["status", "two"], &["there is no tenant two"])?;
    service.wait_empty()?;
    service.ordered(&["restart", "one"])?;
    assert_eq!(service.tenant("one")?.state, "running");
    service.stop()?;
    Ok(())
}

/// Orders that cannot be executed are refused with the reason.
#[test]
fn invalid_orders_are_refused() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    service.wait_state("one", "running")?;
    for words in [["stop", "none"], ["restart", "none"], ["status", "none"]] {
        assert_refused(&service, &words, &["there is no tenant none", "tenant list"])?;
    }
    let file = service.session.path("more.toml");
    let add = ["add", &file.to_string_lossy()];
    for (text, parts) in [
        (tenant("one", &["true"], ""), &["there is already a tenant one"][..]),
        ("[serve]\nshutdown = 1\n".to_owned() + &tenant("x", &["true"], ""), &["[serve] cannot be changed"]),
        (
            tenant("x", &["true"], "user = \"no-such-user\"\nfrobnicate = 1"),
            &["more.toml:5", "tenant.frobnicate", "unknown key"],
        ),
        (String::new(), &["has no [[tenant]]"]),
    ] {
        fs::write(&file, text)?;
        assert_refused(&service, &add, parts)?;
    }
    assert_eq!(service.list()?.len(), 1);
    service.stop()?;
    Ok(())
}

/// Of several added tenants, those that cannot run are all named with the reason, and the others run.
#[test]
fn added_tenants_that_fail_do_not_affect_others() -> Result<()> {
    let service = Service::start("")?;
    let file = service.session.path("more.toml");
    let never = "restart = \"never\"";
    let tenants = tenant("absent", &["/no/such/program"], never)
        + &tenant("good", &["sleep", "1000"], "")
        + &tenant("relative", &["./client"], never);
    fs::write(&file, tenants)?;
    let parts = [
        "3 added tenants, of which 2 do not run",
        "absent did not start",
        "more.toml:3: tenant.command: /no/such/program: command not found",
        "/client: command not found: relative paths start in `directory`, which is /",
    ];
    assert_refused(&service, &["add", &file.to_string_lossy()], &parts)?;
    assert_eq!(service.tenant("good")?.state, "running");
    service.stop()?;
    Ok(())
}

/// The control socket is in a closed directory and belongs to one service at a time. Without a service, the
/// error says so.
#[test]
fn the_control_socket_belongs_to_one_service() -> Result<()> {
    let service = Service::start("")?;
    let directory = fs::metadata(service.session.path("ctl"))?;
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let second = service.second()?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(125) && said.contains("is already running"), "{said}");
    assert!(service.list()?.is_empty(), "the first service keeps running");
    fs::set_permissions(service.session.path("ctl"), fs::Permissions::from_mode(0o755))?;
    let second = service.second()?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(125) && said.contains("chmod 0700"), "{said}");
    service.stop()?;

    let session = Session::new()?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.args(["tenant", "--socket"]).arg(session.path("none")).arg("list").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(125) && said.contains("no kcov-broker serve listens"), "{said}");
    Ok(())
}

/// `SIGHUP` applies the changes of the file and leaves unchanged tenants running. A broken file changes
/// nothing.
#[test]
fn a_reload_restarts_only_changed_tenants() -> Result<()> {
    let all = |keys| tenant("same", &["sleep", "1000"], "") + &tenant("changed", &["sleep", "1000"], keys);
    let service = Service::start(&(all("") + &tenant("removed", &["sleep", "1000"], "")))?;
    for name in ["same", "changed", "removed"] {
        service.wait_state(name, "running")?;
    }
    service.configure("[[tenant]]\nname = 1\n")?;
    service.signal(Signal::SIGHUP)?;
    kcov_tests::until("the error in the log", Duration::from_secs(60), || {
        service.log().contains("nothing was changed").then_some(())
    })?;
    assert_eq!(service.list()?.len(), 3);

    let moved =
        format!("# a line more\n{}{}", all("trace = \"all\""), tenant("added", &["sleep", "1000"], ""));
    service.configure(&moved)?;
    service.signal(Signal::SIGHUP)?;
    service.wait_state("added", "running")?;
    service.wait("changed", "started again", |tenant| tenant.starts == 2 && tenant.state == "running")?;
    assert_eq!(service.tenant("same")?.starts, 1);
    kcov_tests::until("the removed tenant to be gone", Duration::from_secs(60), || {
        service.list().ok().filter(|tenants| tenants.iter().all(|tenant| tenant.name != "removed"))
    })?;
    service.stop()?;
    Ok(())
}

/// systemd is notified when the service is ready, of its status, and when it stops.
#[test]
fn the_service_notifies_systemd() -> Result<()> {
    let session = Session::new()?;
    let path = session.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let tenants = tenant("one", &["sleep", "1000"], "");
    let service = Service::start_in(session, &tenants, &[], &[("NOTIFY_SOCKET", path)])?;
    let mut said = String::new();
    let mut hear = |word: &str| -> Result<()> {
        let mut bytes = [0; 1024];
        while !said.contains(word) {
            let length = socket.recv(&mut bytes)?;
            said += &String::from_utf8_lossy(&bytes[..length]);
            said += "\n";
        }
        Ok(())
    };
    hear("READY=1")?;
    hear("STATUS=tenants: 1 running")?;
    service.signal(Signal::SIGHUP)?;
    hear("RELOADING=1")?;
    service.signal(Signal::SIGTERM)?;
    hear("STOPPING=1")?;
    service.stop().map(drop).or_else(|error| match error.to_string().contains("ESRCH") {
        true => Ok(()),
        false => Err(error),
    })
}
