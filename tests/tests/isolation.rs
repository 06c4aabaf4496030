//! Two concurrent runs share nothing.

use anyhow::Result;
use kcov_tests::{Control, Run, Running, Session, client};

const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;
/// The handle that `hold` registers.
const HANDLE: &str = "7";

/// A client in its own run, with a control page.
fn start(name: &str, before: &[&str], after: &[&str]) -> Result<(Running, Control)> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client(name)?;
    let page = control.path().to_path_buf();
    let words = [program.as_os_str()]
        .into_iter()
        .chain(before.iter().map(AsRef::as_ref))
        .chain([page.as_os_str()])
        .chain(after.iter().map(AsRef::as_ref));
    let running = Run::new(words).trace("kcov").start_in(session)?;
    Ok((running, control))
}

/// Both runs can hold the same common handle at the same time.
#[test]
fn remote_handles_are_separate_in_each_run() -> Result<()> {
    let mut runs = [start("hold", &[], &[HANDLE])?, start("hold", &[], &[HANDLE])?];
    for (running, control) in &mut runs {
        running.reach(control, READY, 1)?;
        assert_eq!(control.get(FACTS)?, 0, "errno of REMOTE_ENABLE");
    }
    for (running, control) in runs {
        control.set(GO, 1)?;
        running.finish()?.assert_sound()?;
    }
    Ok(())
}

/// A device that reaches another run through a socket does not work there: every request gives ENOTTY, and
/// the sender does not notice.
#[test]
fn a_device_of_another_run_gives_enotty() -> Result<()> {
    let place = Session::new()?;
    let socket = place.path("socket");
    let socket = socket.to_string_lossy();
    let (mut giver, giver_control) = start("hand_over", &["give", &socket], &[])?;
    giver.reach(&giver_control, READY, 1)?;
    let (mut taker, taker_control) = start("hand_over", &["take", &socket], &[])?;
    taker.reach(&taker_control, READY, 1)?;
    for (fact, request) in ["INIT_TRACE", "ENABLE", "DISABLE", "REMOTE_ENABLE"].iter().enumerate() {
        let errno = taker_control.get(FACTS + fact as u64)?;
        assert_eq!(errno, u64::from(libc::ENOTTY.unsigned_abs()), "{request}");
    }
    taker.finish()?.assert_sound()?;
    giver.finish()?.assert_sound()?;
    Ok(())
}
