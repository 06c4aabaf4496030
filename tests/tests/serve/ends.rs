//! Orderly ends, restarts, and processes that are killed.

use crate::{FACTS, GO, READY};
use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Control, Session, client, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

fn kill_process(pid: i32) -> Result<()> {
    Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
}

/// Children of a process with this name.
fn named_below(service: &Service, ancestor: i32, name: &str) -> Vec<Process> {
    let below = |process: &Process| process.descends_from(Process(ancestor));
    service.session.named(name).into_iter().filter(below).collect()
}

/// No process survives the service's `SIGTERM`, whether it ignores signals, left its session or is stopped.
#[test]
fn an_orderly_end_leaves_nothing() -> Result<()> {
    let stubborn = ["bash", "-c", "trap '' TERM; while :; do sleep 1000; done"];
    let scattered = ["bash", "-c", "setsid sleep 1000 & (setsid sleep 1000 &) ; sleep 1000"];
    let still = ["bash", "-c", "kill -STOP $$; sleep 1000"];
    let tenants = tenant("stubborn", &stubborn, "stop-grace = \"300ms\"\ntrace = \"all\"")
        + &tenant("scattered", &scattered, "")
        + &tenant("still", &still, "")
        + &tenant("ended", &["bash", "-c", "setsid sleep 1000 & exit 0"], "");
    let service = Service::start(&tenants)?;
    for name in ["stubborn", "scattered", "still"] {
        service.wait_state(name, "running")?;
    }
    // Processes that the command of a service leaves behind end with it.
    service.wait_state("ended", "stopped")?;
    let log = service.stop()?;
    assert!(log.contains("tenant_kill"), "{log}");
    Ok(())
}

/// A tenant that fails is restarted up to its limit, and then reported as failed.
#[test]
fn failed_tenants_are_restarted_up_to_the_limit() -> Result<()> {
    let keys = "restart-delay = \"20ms\"\nrestart-max = 3";
    let tenants = tenant("fails", &["bash", "-c", "exit 7"], keys)
        + &tenant("never", &["bash", "-c", "exit 7"], "restart = \"never\"")
        + &tenant("killed", &["bash", "-c", "kill -SEGV $$"], keys)
        + &tenant("always", &["true"], &format!("{keys}\nrestart = \"always\""));
    let service = Service::start(&tenants)?;
    for (name, starts, status) in [("fails", 4, 7), ("never", 1, 7), ("killed", 4, 139)] {
        let tenant = service.wait_state(name, "failed")?;
        assert_eq!((tenant.starts, tenant.last_status), (starts, Some(status)), "{tenant:?}");
    }
    let always = service.wait("always", "over", |tenant| tenant.state == "stopped" && tenant.starts == 4)?;
    assert_eq!((always.restarts, always.last_status), (3, Some(0)), "{always:?}");
    // An operator's restart resets the count.
    service.order(&["restart", "fails", "--no-wait"])?;
    service.wait("fails", "started again", |tenant| tenant.state == "failed" && tenant.starts == 8)?;
    service.stop()?;
    Ok(())
}

/// A command that cannot be executed is reported with the reason.
#[test]
fn a_start_that_fails_says_why() -> Result<()> {
    let session = Session::new()?;
    let program = session.path("program");
    std::fs::write(&program, "#!/no/such/interpreter\n")?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let tenants = tenant("one", &[&program], "restart = \"never\"");
    let service = Service::start_in(session, &tenants, &[], &[])?;
    let one = service.wait_state("one", "failed")?;
    let message = one.message.context("a message")?;
    assert!(message.contains("program") && message.contains("No such file"), "{message}");
    assert_eq!(one.last_status, Some(127));
    service.stop()?;
    Ok(())
}

/// A broker that is killed ends its own tenant and no other, and the tenant is restarted.
#[test]
fn a_killed_broker_restarts_only_its_own_tenant() -> Result<()> {
    let keys = "restart-delay = \"20ms\"";
    let tenants = tenant("one", &["sleep", "1000"], keys) + &tenant("two", &["sleep", "1000"], keys);
    let service = Service::start(&tenants)?;
    let one = service.wait_state("one", "running")?;
    let two = service.wait_state("two", "running")?;
    kill_process(one.broker.context("a broker")?)?;
    let again =
        service.wait("one", "started again", |tenant| tenant.starts == 2 && tenant.state == "running")?;
    assert_ne!(again.broker, one.broker);
    let beside = service.tenant("two")?;
    assert_eq!((beside.starts, beside.broker), (1, two.broker));
    // The state is `running` from the moment before the exec.
    until("one command of each, and no other", WITHIN, || {
        let commands =
            service.session.processes().into_iter().filter(|p| p.name().as_deref() == Some("sleep"));
        (commands.count() == 2).then_some(())
    })?;
    service.stop()?;
    Ok(())
}

/// With `on-broker-death = "enosys"` the command lives on, its traced calls get `ENOSYS`, and an operator can
/// stop it.
#[test]
fn a_tenant_may_outlive_its_broker() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let command = [client("one_call")?.into_os_string(), control.path().into(), "3".into()];
    let keys = "trace = \"getppid\"\non-broker-death = \"enosys\"";
    let stays = tenant("stays", &["sleep", "1000"], "on-broker-death = \"enosys\"");
    let tenants = tenant("one", &command, keys) + &stays;
    let service = Service::start_in(session, &tenants, &[], &[])?;
    service.reach(&control, READY, 1)?;
    control.set(GO, 1)?;
    service.reach(&control, READY, 2)?;
    assert_eq!(control.get(FACTS)?, 0, "errno before the broker is killed");
    let broker = service.tenant("one")?.broker.context("a broker")?;
    kill_process(broker)?;
    until("the log entry of the first broker", WITHIN, || {
        service.log().contains("broker_crash").then_some(())
    })?;
    until("only the other worker to be left", WITHIN, || {
        (service.session.named("kcov-worker").len() == 1).then_some(())
    })?;
    control.set(GO, 2)?;
    service.reach(&control, READY, 3)?;
    assert_eq!(control.get(FACTS)?, u64::from(libc::ENOSYS.unsigned_abs()), "errno without a broker");

    kill_process(service.wait_state("stays", "running")?.broker.context("a broker")?)?;
    until("the log entry of the second broker", WITHIN, || {
        (service.log().matches("broker_crash").count() == 2).then_some(())
    })?;
    service.ordered(&["stop", "stays"])?;
    let one = service.tenant("one")?;
    assert_eq!((one.state.as_str(), one.broker), ("unserved", None));
    let status = service.ordered(&["status", "one"])?;
    assert!(status.contains("running without a broker") && status.contains("ENOSYS"), "{status}");
    assert!(service.ordered(&["list"])?.contains("tenant restart"));
    service.stop()?;
    Ok(())
}

/// When the manager is killed, all its processes end, and a new manager can take over the socket.
#[test]
fn a_killed_manager_leaves_nothing() -> Result<()> {
    let tenants = tenant("one", &["bash", "-c", "setsid sleep 1000 & sleep 1000"], "trace = \"all\"")
        + &tenant("two", &["sleep", "1000"], "");
    let mut service = Service::start(&tenants)?;
    service.wait_state("one", "running")?;
    service.wait_state("two", "running")?;
    service.signal(Signal::SIGKILL)?;
    assert!(!service.wait_end()?.success());
    assert!(service.session.path("ctl/socket").exists(), "the stale socket is still there");
    service.again()?;
    service.wait_state("one", "running")?;
    service.stop()?;
    Ok(())
}

/// Each helper of a tenant may die at any time: the tenant goes on or is restarted.
#[test]
fn any_helper_of_a_tenant_may_be_killed() -> Result<()> {
    let command = ["bash", "-c", "while :; do /bin/true; done"];
    let service = Service::start(&tenant("one", &command, "trace = \"all\"\nrestart-delay = \"20ms\""))?;
    for name in ["kcov-worker", "kcov-zygote", "kcov-reader", "kcov-tender", "kcov-spawner"] {
        let one = service.wait_state("one", "running")?;
        let broker = one.broker.context("a broker")?;
        let victim = until(name, WITHIN, || named_below(&service, broker, name).first().copied())?;
        kill_process(victim.0)?;
        until("a new worker", WITHIN, || {
            let tenant = service.tenant("one").ok()?;
            let serves = tenant.broker.is_some_and(|broker| {
                named_below(&service, broker, "kcov-worker").iter().any(|worker| *worker != victim)
            });
            (tenant.state == "running" && serves).then_some(())
        })
        .with_context(|| format!("{name}\n{}", service.log()))?;
        if name == "kcov-worker" {
            until("the crash in the status", WITHIN, || {
                let said = service.ordered(&["status", "one"]).ok()?;
                (said.contains("crashes       1 of 2 workers") && said.contains("nothing because of a quota"))
                    .then_some(())
            })?;
        }
        if name == "kcov-tender" {
            let reason = service.tenant("one")?.message.unwrap_or_default();
            assert!(reason.contains("its tender (kcov-tender) was killed"), "{reason}");
            assert!(!service.log().contains("broker_crash"), "{}", service.log());
        }
        if name == "kcov-spawner" {
            // Without the spawner no worker can be replaced, so an operator restarts the tenant.
            service.ordered(&["restart", "one"])?;
        }
    }
    service.stop()?;
    Ok(())
}
