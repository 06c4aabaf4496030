//! A broker that is killed: its command ends with it, or goes on and is told `ENOSYS`; nothing else of the run stays.

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

/// A run of a client that makes a traced call when it is told to.
struct Caller {
    running: Running,
    control: Control,
}

impl Caller {
    /// Starts it, for such calls, after `before` in a shell; the first call is served.
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
        assert_eq!(caller.call(1)?, 0, "errno while there is a broker");
        Ok(caller)
    }

    /// Has the client make a call. Returns its errno.
    fn call(&mut self, number: u64) -> Result<u64> {
        self.control.set(GO, number)?;
        self.returned(number)
    }

    fn returned(&mut self, number: u64) -> Result<u64> {
        self.running.reach(&self.control, READY, number + 1)?;
        self.control.get(ERRNO)
    }

    /// Kills the broker, which has the name of the front.
    fn kill_broker(&self) -> Result<()> {
        let front = self.running.front();
        let mut named = self.running.session.named("kcov-broker").into_iter();
        send(named.find(|process| process.parent() == Some(front)).context("a broker")?, Signal::SIGKILL)
    }

    /// Waits until of the helpers only those are left that a command without a broker has.
    fn left_alone(&self) -> Result<()> {
        let names = || {
            let mut names: Vec<_> =
                self.running.session.own_processes().into_iter().filter_map(Process::name).collect();
            names.sort_unstable();
            (names == ["kcov-broker", "kcov-spawner", "kcov-tender"]).then_some(())
        };
        until("the end of worker, zygote, reader and broker", WITHIN, names)
    }

    /// Waits for the end of all processes. Returns the exit status, and what the front said.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let status = self.running.wait()?.code();
        let session = &self.running.session;
        let gone = || session.processes().is_empty().then_some(());
        until("the end of all processes", WITHIN, gone)
            .with_context(|| format!("left: {:?}", session.processes()))?;
        Ok((status, std::fs::read_to_string(session.path("stderr"))?))
    }
}

fn send(process: Process, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), signal)?)
}

/// With a call in flight, and with a process that left its session and parent.
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

/// A call in flight and those after it get `ENOSYS`. The front waits for the end of the command.
#[test]
fn a_command_may_outlive_its_broker() -> Result<()> {
    // A worker that is stopped might go on and answer as its end comes; in this call of its handler it does not.
    const HANG: &str = "45";
    let handler = library("retry")?;
    let options = ["--on-broker-death", "enosys", "--handler", &handler.to_string_lossy()];
    let mut caller = Caller::start("", &["3", HANG], &options)?;
    caller.control.set(GO, 2)?;
    caller.kill_broker()?;
    assert_eq!(caller.returned(2)?, ENOSYS, "errno of a call in flight");
    caller.left_alone()?;
    assert_eq!(caller.call(3)?, ENOSYS, "errno of a call afterwards");
    let (status, said) = caller.end()?;
    assert_eq!(status, Some(FAILED), "{said}");
    assert!(said.contains("the command keeps running; its traced calls fail with ENOSYS"), "{said}");
    Ok(())
}

/// The whole of it ends when the front is told to.
#[test]
fn a_command_without_a_broker_is_ended_by_its_front() -> Result<()> {
    let caller = Caller::start("setsid sleep 1000 &", &["2"], &["--on-broker-death", "enosys"])?;
    caller.kill_broker()?;
    caller.left_alone()?;
    // A signal that comes while the broker is dying may get lost with it.
    until("the end of all processes", WITHIN, || {
        let _ = caller.running.signal(Signal::SIGTERM);
        caller.running.session.processes().is_empty().then_some(())
    })?;
    assert_eq!(caller.end()?.0, Some(FAILED));
    Ok(())
}
