//! A tenant has its own user, environment, directory and output, and is separate from all others.

use crate::{FACTS, READY};
use anyhow::{Context, Result};
use kcov_tests::ordinary::{as_user, own, user};
use kcov_tests::process::Process;
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Control, Session, client, ordinary, until};
use std::fs;
use std::time::Duration;

/// The command runs as configured, and the device belongs to its user.
#[test]
fn a_tenant_runs_as_configured() -> Result<()> {
    let session = Session::new()?;
    let script = "id -u; id -g; id -G; pwd; echo $HOME $USER $LOGNAME $A; env | wc -l; \
                  tr '\\0' ' ' < /proc/self/cmdline > /dev/null; exec 3<>/sys/kernel/debug/kcov && echo opened; \
                  grep -E 'Cap(Eff|Prm|Inh|Amb)|NoNewPrivs' /proc/self/status";
    let output = session.path("output");
    let keys = format!(
        "user = \"nobody\"\ngroup = \"daemon\"\ngroups = [\"bin\", \"sys\"]\ndirectory = \"/usr\"\n\
         environment = {{ A = \"b\" }}\noutput = {output:?}\ntrace = \"all\""
    );
    let service = Service::start_in(session, &tenant("one", &["bash", "-c", script], &keys), &[], &[])?;
    let one = service.wait_state("one", "stopped")?;
    let said = fs::read_to_string(&output)?;
    assert_eq!(one.last_status, Some(0), "{said}\n{}", service.log());
    let lines: Vec<_> = said.lines().collect();
    // nobody, daemon, bin and sys have these numbers on every system that has them.
    assert_eq!(&lines[..2], ["65534", "1"], "{said}");
    let mut groups: Vec<_> = lines[2].split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["1", "2", "3"], "{said}");
    assert_eq!(lines[3], "/usr");
    assert!(lines[4].ends_with(" nobody nobody b"), "{said}");
    assert_eq!(lines[6], "opened", "{said}");
    let zeros =
        lines[7..].iter().filter(|line| line.ends_with("\t0000000000000000") || line.ends_with("\t0"));
    assert_eq!(
        (zeros.count(), lines.len()),
        (5, 12),
        "expected no capability, and working setuid programs: {said}"
    );
    service.stop()?;
    Ok(())
}

/// `ps` shows the role and the tenant's name of each process that serves a tenant.
#[test]
fn process_titles_name_the_tenant() -> Result<()> {
    let service = Service::start(&tenant("titled", &["sleep", "1000"], ""))?;
    let one = service.wait_state("titled", "running")?;
    let title = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    for name in ["kcov-spawner", "kcov-tender", "kcov-reader", "kcov-worker"] {
        let titled =
            |process: &Process| title(process.0).split('\0').next() == Some(&format!("{name}: titled"));
        // A process gets its name a moment before its title.
        until(name, Duration::from_secs(60), || service.session.named(name).into_iter().find(titled))?;
    }
    let broker = one.broker.context("a broker")?;
    assert_eq!(title(broker).trim_end_matches('\0'), "kcov-broker: titled");
    assert!(title(service.manager().0).contains("serve"), "the manager has its own title");
    service.stop()?;
    Ok(())
}

/// No component of an output path may be a symbolic link: otherwise the owner of a directory could redirect
/// the output to other users' files.
#[test]
fn output_follows_no_links() -> Result<()> {
    let session = Session::new()?;
    std::os::unix::fs::symlink(session.path("victim"), session.path("output"))?;
    let keys = format!("output = {:?}\nrestart = \"never\"", session.path("late"));
    let service = Service::start_in(session, &tenant("one", &["sleep", "1000"], &keys), &[], &[])?;
    service.wait_state("one", "running")?;
    fs::remove_file(service.session.path("late"))?;
    std::os::unix::fs::symlink(service.session.path("victim"), service.session.path("late"))?;
    let output = service.order(&["restart", "one"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("symbolic links"), "{said}");
    assert!(!service.session.path("victim").exists());
    service.stop()?;
    Ok(())
}

/// A device that reaches another tenant through a socket does not work there.
#[test]
fn a_device_of_another_tenant_gives_enotty() -> Result<()> {
    let session = Session::new()?;
    let socket = session.path("socket").into_os_string();
    let controls = [Control::new(session.path("giver"))?, Control::new(session.path("taker"))?];
    let program = client("hand_over")?.into_os_string();
    let words = |role: &str, control: &Control| {
        [program.clone(), role.into(), socket.clone(), control.path().as_os_str().to_owned()]
    };
    let service = Service::start_in(session, &tenant("giver", &words("give", &controls[0]), ""), &[], &[])?;
    service.reach(&controls[0], READY, 1)?;
    service.add(&tenant("taker", &words("take", &controls[1]), ""))?;
    service.reach(&controls[1], READY, 1)?;
    for (fact, request) in ["INIT_TRACE", "ENABLE", "DISABLE", "REMOTE_ENABLE"].iter().enumerate() {
        let errno = controls[1].get(FACTS + fact as u64)?;
        assert_eq!(errno, u64::from(libc::ENOTTY.unsigned_abs()), "{request}");
    }
    service.wait_state("giver", "stopped")?;
    service.stop()?;
    Ok(())
}

/// An ordinary user can run a service.
#[test]
fn an_ordinary_user_can_run_a_service() -> Result<()> {
    let session = ordinary::session()?;
    let control = Control::new(session.path("control"))?;
    own(control.path())?;
    fs::write(session.path("config.toml"), "")?;
    let command = [client("hold")?.into_os_string(), control.path().into()];
    let tenants = tenant("one", &command, "") + &tenant("two", &["bash", "-c", "id -u"], "map-root = true");
    let service = Service::start_in(session, &tenants, &as_user()?, &[])?;
    service.reach(&control, READY, 1)?;
    assert_eq!(control.get(FACTS)?, 0, "errno of ENABLE");
    let two = service.wait_state("two", "stopped")?;
    assert_eq!((two.uid, two.last_status), (None, Some(0)));
    assert!(service.log().lines().any(|line| line == "0"), "{}", service.log());
    let owner = service.manager().status().and_then(|status| status.get("Uid").cloned()).unwrap_or_default();
    assert!(owner.starts_with(&user()?.to_string()), "{owner}");
    service.stop()?;
    Ok(())
}
