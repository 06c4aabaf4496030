//! An instance lives as long as anything refers to it: whoever holds it when its opener is gone keeps it whole, and
//! with the last reference it goes, while the tenant lives on.

use anyhow::Result;
use kcov_tests::{Control, Run, Running, Session, client, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const GO: u64 = 0;
const READY: u64 = 1;
/// Ends what leaks. The figure that is aimed at, 100 ms, is printed beside what it took.
const WITHIN: Duration = Duration::from_secs(10);
/// Long against the broker's sweeps: what is to be kept is looked at only after this.
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

/// The close of a description that only an event tells of, when the queue of events is full (16,384).
#[test]
fn a_close_that_the_kernel_does_not_tell_of() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let words = [client("life_untold")?, control.path().to_path_buf()];
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

fn kept_by(how: &str) -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client("life_last")?;
    let words = [program.as_os_str(), how.as_ref(), control.path().as_os_str()];
    let mut running = Run::new(words).trace("kcov,getppid").start_in(session)?;
    running.reach(&control, READY, 1)?;
    std::thread::sleep(A_WHILE);
    assert_eq!(areas(&running), 1, "areas while it is kept");
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    let start = Instant::now();
    until("the release of the area", WITHIN, || (areas(&running) == 0).then_some(()))?;
    println!("{how}: released after {:?}", start.elapsed());
    control.set(GO, 2)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

/// The descriptor of a child.
#[test]
fn a_child() -> Result<()> {
    kept_by("child")
}

/// A duplicate of the descriptor, the first one closed.
#[test]
fn a_duplicate() -> Result<()> {
    kept_by("duplicate")
}

/// A descriptor across an exec.
#[test]
fn an_image_after_exec() -> Result<()> {
    kept_by("exec")
}

/// A mapping alone.
#[test]
fn a_mapping() -> Result<()> {
    kept_by("mapping")
}

/// A thread that collects, with neither descriptor nor mapping left, until it exits.
#[test]
fn an_owner() -> Result<()> {
    kept_by("owner")
}

/// The same, until it is killed.
#[test]
fn an_owner_that_is_killed() -> Result<()> {
    kept_by("killed")
}

/// Whoever got it over a socket.
#[test]
fn a_receiver() -> Result<()> {
    kept_by("received")
}

/// A socket in whose queue it is, the sender gone; it ends after it is received.
#[test]
fn a_message_that_is_received() -> Result<()> {
    kept_by("flight")
}

/// The same; it ends with the socket.
#[test]
fn a_message_that_nobody_receives() -> Result<()> {
    kept_by("queue")
}
