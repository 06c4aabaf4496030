//! An instance lives as long as anything refers to it. Whoever holds it after its opener is gone can use it;
//! with the last reference it is released while the tenant lives on.

use anyhow::{Context, Result};
use kcov_tests::live::shown;
use kcov_tests::{Control, Run, Running, Session, client, ordinary, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const GO: u64 = 0;
const READY: u64 = 1;
/// Deadline of a release. The test prints the time that it took, which should be below 100 ms.
const WITHIN: Duration = Duration::from_secs(10);
/// Long compared with the interval of the broker's sweeps: the test looks at an area that must be kept only
/// after this.
const A_WHILE: Duration = Duration::from_millis(400);

/// Areas that the broker holds. Its other memfds have longer names.
fn areas(running: &Running) -> usize {
    let of = |descriptors: Vec<std::path::PathBuf>| {
        let is_area = |target: &&std::path::PathBuf| target.to_string_lossy().starts_with("/memfd:kcov ");
        descriptors.iter().filter(is_area).count()
    };
    let brokers = running.session.named("kcov-broker");
    brokers.into_iter().filter_map(|process| process.descriptors()).map(of).sum()
}

/// Closes that only an inotify event reports, while the event queue (16,384) is full.
#[test]
fn closes_are_noticed_when_the_event_queue_overflows() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let words = [client("life_overflow")?, control.path().to_path_buf()];
    let mut running = Run::new(words).trace("kcov").start_in(session)?;
    running.reach(&control, READY, 1)?;
    assert_eq!(areas(&running), 4);
    let brokers = running.session.named("kcov-broker");
    let signal = |signal| brokers.iter().try_for_each(|broker| kill(Pid::from_raw(broker.0), signal));
    signal(Signal::SIGSTOP)?;
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    signal(Signal::SIGCONT)?;
    until("the release of the areas", WITHIN, || (areas(&running) == 1).then_some(()))?;
    control.set(GO, 2)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

fn assert_kept_by(how: &str) -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client("life_last")?;
    let words = [program.as_os_str(), how.as_ref(), control.path().as_os_str()];
    let mut running = Run::new(words).trace("kcov,getppid").start_in(session)?;
    running.reach(&control, READY, 1)?;
    std::thread::sleep(A_WHILE);
    assert_eq!(areas(&running), 1, "areas while a reference is left");
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    let start = Instant::now();
    until("the release of the area", WITHIN, || (areas(&running) == 0).then_some(()))?;
    println!("{how}: released after {:?}", start.elapsed());
    control.set(GO, 2)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

/// The instance of an open that was copied before `INIT_TRACE` lives while this copy lives, as the area and
/// `status --json` show.
fn assert_kept_by_copy(how: &str, rootless: bool) -> Result<()> {
    let session = if rootless { ordinary::session()? } else { Session::new()? };
    let control = Control::new(session.path("control"))?;
    ordinary::own(control.path())?;
    let command = [client("life_copy")?.into_os_string(), how.into(), control.path().into()];
    let run = match rootless {
        true => ordinary::run(&session, &[], &command)?,
        false => Run::new(command).trace("kcov"),
    };
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    std::thread::sleep(A_WHILE);
    assert_eq!(areas(&running), 1, "areas while a copy is left");
    shown(&running.session, |tenant| tenant.instances == 1 && tenant.arena_bytes > 0)?;
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    until("the release of the area", WITHIN, || (areas(&running) == 0).then_some(()))?;
    shown(&running.session, |tenant| tenant.instances == 0 && tenant.arena_bytes == 0)?;
    control.set(GO, 2)?;
    assert_eq!(running.finish()?.assert_sound()?.instances_opened, 1);
    Ok(())
}

#[test]
fn any_copy_of_an_open_keeps_the_instance() -> Result<()> {
    for how in ["duplicate", "used", "read-only", "child", "queue"] {
        assert_kept_by_copy(how, false).context(how)?;
    }
    Ok(())
}

#[test]
fn any_copy_of_an_open_keeps_the_instance_of_an_ordinary_user() -> Result<()> {
    for how in ["duplicate", "used", "read-only", "child", "queue"] {
        assert_kept_by_copy(how, true).context(how)?;
    }
    Ok(())
}

/// The descriptor of a child keeps the instance.
#[test]
fn a_child_keeps_the_instance() -> Result<()> {
    assert_kept_by("child")
}

/// A duplicate of the descriptor keeps the instance after the first one was closed.
#[test]
fn a_duplicate_keeps_the_instance() -> Result<()> {
    assert_kept_by("duplicate")
}

/// A descriptor that is inherited over an exec keeps the instance.
#[test]
fn the_program_after_an_exec_keeps_the_instance() -> Result<()> {
    assert_kept_by("exec")
}

/// A mapping without any descriptor keeps the instance.
#[test]
fn a_mapping_keeps_the_instance() -> Result<()> {
    assert_kept_by("mapping")
}

/// A thread that collects, without descriptor or mapping, keeps the instance until it exits.
#[test]
fn an_owner_keeps_the_instance_until_it_exits() -> Result<()> {
    assert_kept_by("owner")
}

/// The same until the thread is killed.
#[test]
fn an_owner_keeps_the_instance_until_it_is_killed() -> Result<()> {
    assert_kept_by("killed")
}

/// A process that received the descriptor over a socket keeps the instance.
#[test]
fn a_receiver_keeps_the_instance() -> Result<()> {
    assert_kept_by("received")
}

/// A message in a socket's queue keeps the instance after the sender is gone. The instance ends some time
/// after the message is received.
#[test]
fn a_queued_message_keeps_the_instance_until_it_is_received() -> Result<()> {
    assert_kept_by("flight")
}

/// The same until the socket is closed.
#[test]
fn a_queued_message_keeps_the_instance_until_its_socket_closes() -> Result<()> {
    assert_kept_by("queue")
}
