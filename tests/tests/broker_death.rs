//! The broker is killed: its command ends too, or goes on and gets `ENOSYS` for traced calls. No other
//! process of the run is left.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Running, Session, client, library, until};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::time::Duration;

const GO: u64 = 0;
const READY: u64 = 1;
const ERRNO: u64 = 2;
const WITHIN: Duration = Duration::from_secs(60);
/// Exit status of a run whose broker failed.
const FAILED: i32 = 125;
const ENOSYS: u64 = libc::ENOSYS.unsigned_abs() as u64;

/// A run whose client makes one traced call for each order.
struct Caller {
    running: Running,
    control: Control,
}

impl Caller {
    /// Starts the client after running `before` in a shell, and checks that its first call is served.
    fn start(before: &str, calls: &[&str], options: &[&str]) -> Result<Self> {
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        let script = format!("{before} exec \"$0\" \"$@\"");
        let words =
            ["bash".into(), "-c".into(), script.into(), client("one_call")?, control.path().to_owned()];
        let run = Run::new(words.into_iter().chain(calls.iter().map(PathBuf::from)))
            .trace("getppid")
            .option("--deadline")
            .option("60s");
        let mut running = options.iter().fold(run, |run, option| run.option(option)).start_in(session)?;
        running.reach(&control, READY, 1)?;
        let mut caller = Caller { running, control };
        assert_eq!(caller.call(1)?, 0, "errno before the broker is killed");
        Ok(caller)
    }

    /// Orders a call of the client. Returns its errno.
    fn call(&mut self, number: u64) -> Result<u64> {
        self.control.set(GO, number)?;
        self.returned(number)
    }

    fn returned(&mut self, number: u64) -> Result<u64> {
        self.running.reach(&self.control, READY, number + 1)?;
        self.control.get(ERRNO)
    }

    /// Kills the broker, whose process has the same name as the front.
    fn kill_broker(&self) -> Result<()> {
        let front = self.running.front();
        let mut named = self.running.session.named("kcov-broker").into_iter();
        send(named.find(|process| process.parent() == Some(front)).context("a broker")?, Signal::SIGKILL)
    }

    /// Waits until the only helpers left are those that a command without a broker needs.
    fn wait_for_helpers_to_end(&self) -> Result<()> {
        let names = || {
            let mut names: Vec<_> =
                self.running.session.own_processes().into_iter().filter_map(Process::name).collect();
            names.sort_unstable();
            (names == ["kcov-broker", "kcov-spawner", "kcov-tender"]).then_some(())
        };
        until("worker, zygote, reader and broker to end", WITHIN, names)
    }

    /// Waits until every process has ended. Returns the exit status and the standard error of the front.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let status = self.running.wait()?.code();
        let session = &self.running.session;
        let gone = || session.processes().is_empty().then_some(());
        until("all processes to end", WITHIN, gone)
            .with_context(|| format!("left: {:?}", session.processes()))?;
        Ok((status, std::fs::read_to_string(session.path("stderr"))?))
    }
}

fn send(process: Process, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), signal)?)
}

/// With a call in flight, and with a process that left its session and its parent.
#[test]
fn a_command_ends_with_its_broker() -> Result<()> {
    for options in [&[][..], &["--on-broker-death", "stop"]] {
        let caller = Caller::start("setsid sleep 1000 &", &["2"], options)?;
        send(caller.running.session.named("kcov-worker")[0], Signal::SIGSTOP)?;
        caller.control.set(GO, 2)?;
        caller.kill_broker()?;
        let (status, said) = caller.end()?;
        assert_eq!(status, Some(FAILED), "{said}");
        assert!(said.contains("the broker exited before the command"), "{said}");
    }
    Ok(())
}

/// The call in flight and later calls get `ENOSYS`. The front waits for the command to end.
#[test]
fn a_command_may_outlive_its_broker() -> Result<()> {
    // A stopped worker could resume and answer while its end is on the way. During this call of its handler
    // it cannot.
    const HANG: &str = "45";
    let handler = library("retry")?;
    let options = ["--on-broker-death", "enosys", "--handler", &handler.to_string_lossy()];
    let mut caller = Caller::start("", &["3", HANG], &options)?;
    caller.control.set(GO, 2)?;
    caller.kill_broker()?;
    assert_eq!(caller.returned(2)?, ENOSYS, "errno of a call in flight");
    caller.wait_for_helpers_to_end()?;
    assert_eq!(caller.call(3)?, ENOSYS, "errno of a call afterwards");
    let (status, said) = caller.end()?;
    assert_eq!(status, Some(FAILED), "{said}");
    assert!(said.contains("the command keeps running; its traced calls fail with ENOSYS"), "{said}");
    Ok(())
}

/// All processes end when the front receives a signal.
#[test]
fn a_command_without_a_broker_ends_with_its_front() -> Result<()> {
    let caller = Caller::start("setsid sleep 1000 &", &["2"], &["--on-broker-death", "enosys"])?;
    caller.kill_broker()?;
    caller.wait_for_helpers_to_end()?;
    // A signal that arrives while the broker is dying can get lost.
    until("all processes to end", WITHIN, || {
        let _ = caller.running.signal(Signal::SIGTERM);
        caller.running.session.processes().is_empty().then_some(())
    })?;
    assert_eq!(caller.end()?.0, Some(FAILED));
    Ok(())
}
