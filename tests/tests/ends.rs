//! A run or a service ends within a bound when it is told to, whatever its processes are in: stopped, held by a tracer,
//! or waiting in the kernel. `deploy/LIMITS.md` states the bound.

use anyhow::{Context, Result, ensure};
use kcov_tests::process::Process;
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Run, Running, Session, client, until};
use nix::mount::{MntFlags, umount2};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The bound of LIMITS.md.
const BOUND: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(60);
const HELPERS: [&str; 6] =
    ["kcov-broker", "kcov-spawner", "kcov-tender", "kcov-zygote", "kcov-reader", "kcov-worker"];

fn send(process: Process, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), signal)?)
}

/// The helper of this name. The front has the name of the broker.
fn helper(session: &Session, front: Process, name: &str) -> Result<Process> {
    until(name, WITHIN, || session.named(name).into_iter().find(|process| *process != front))
}

fn sleeping_run() -> Result<Running> {
    let running = Run::bash("echo ready; exec sleep 1000").within(WITHIN).start()?;
    until("the command", WITHIN, || running.stdout().contains("ready").then_some(()))?;
    Ok(running)
}

/// Sends the front a signal, and waits until all is over. Returns the exit code and standard error.
fn end(running: Running, signal: Signal) -> Result<(i32, String)> {
    let begin = Instant::now();
    running.signal(signal)?;
    let outcome = running.finish()?;
    let took = begin.elapsed();
    ensure!(took < BOUND, "took {took:?}: {}", outcome.stderr);
    Ok((outcome.code(), outcome.stderr))
}

/// Holds a process in a ptrace stop, in which SIGCONT has no effect.
fn hold(process: Process) -> Result<Pid> {
    let pid = Pid::from_raw(process.0);
    ptrace::seize(pid, Options::empty()).context("PTRACE_SEIZE")?;
    ptrace::interrupt(pid).context("PTRACE_INTERRUPT")?;
    waitpid(pid, Some(WaitPidFlag::__WALL))?;
    Ok(pid)
}

/// A helper that was stopped is continued, and the command gets its signal.
#[test]
fn a_stopped_helper_does_not_keep_a_run() -> Result<()> {
    for name in HELPERS {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let running = sleeping_run()?;
            send(helper(&running.session, running.front(), name)?, Signal::SIGSTOP)?;
            let (code, said) = end(running, signal).context(name)?;
            assert_eq!(code, 128 + signal as i32, "{name}: {said}");
        }
    }
    Ok(())
}

/// A helper that cannot be continued is killed, and what it held ends with it.
#[test]
fn a_helper_that_cannot_run_does_not_keep_a_run() -> Result<()> {
    for name in HELPERS {
        let running = sleeping_run()?;
        let held = hold(helper(&running.session, running.front(), name)?)?;
        let ended = end(running, Signal::SIGTERM).context(name);
        // A tracer reaps first.
        let _ = waitpid(held, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
        let (code, said) = ended?;
        let expected = match name {
            "kcov-broker" | "kcov-tender" => 125,
            _ => 128 + Signal::SIGTERM as i32,
        };
        assert_eq!(code, expected, "{name}: {said}");
        match name {
            "kcov-broker" => assert!(said.contains("the broker does not answer"), "{said}"),
            "kcov-tender" => assert!(said.contains("tender_stuck"), "{said}"),
            _ => {}
        }
    }
    Ok(())
}

/// All helpers at once.
#[test]
fn a_run_ends_when_every_helper_is_held() -> Result<()> {
    let running = sleeping_run()?;
    let front = running.front();
    let held: Vec<_> = HELPERS.iter().map(|name| hold(helper(&running.session, front, name)?)).collect();
    let ended = end(running, Signal::SIGTERM);
    for pid in held.into_iter().flatten() {
        let _ = waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
    }
    let (code, said) = ended?;
    assert_eq!(code, 125, "{said}");
    Ok(())
}

/// A second signal does not wait for the bound.
#[test]
fn a_second_signal_ends_a_stuck_run_at_once() -> Result<()> {
    let running = sleeping_run()?;
    let held = hold(helper(&running.session, running.front(), "kcov-broker")?)?;
    running.signal(Signal::SIGINT)?;
    std::thread::sleep(Duration::from_secs(1));
    let begin = Instant::now();
    let ended = end(running, Signal::SIGINT);
    let _ = waitpid(held, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
    assert_eq!(ended?.0, 125);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    Ok(())
}

/// A command may handle ending signals and stay: two of them end nothing.
#[test]
fn a_command_that_handles_signals_stays() -> Result<()> {
    let script = "n=0; trap 'n=$((n+1)); echo got $n' INT TERM; echo ready; while [ $n -lt 4 ]; do sleep 0.1; done; exit 3";
    let mut running = Run::bash(script).within(WITHIN).start()?;
    for (number, signal) in
        [Signal::SIGINT, Signal::SIGINT, Signal::SIGTERM, Signal::SIGTERM].into_iter().enumerate()
    {
        let line = if number == 0 { "ready".to_owned() } else { format!("got {number}") };
        until(&line, WITHIN, || running.stdout().contains(&line).then_some(()))?;
        // Longer than the front waits before a second signal counts.
        std::thread::sleep(Duration::from_millis(500));
        running.signal(signal)?;
    }
    assert_eq!(running.wait()?.code(), Some(3));
    running.finish()?;
    Ok(())
}

/// A file system whose users wait in the kernel.
struct SilentFileSystem {
    directory: PathBuf,
    server: Child,
    // Not below a session: a removal of its directory would wait as well.
    _place: TempDir,
}

impl SilentFileSystem {
    fn mount() -> Result<Self> {
        let place = tempfile::tempdir()?;
        let (directory, ready) = (place.path().join("silent"), place.path().join("mounted"));
        std::fs::create_dir(&directory)?;
        // Without the mark of the session: it must outlive the command.
        let mut command = std::process::Command::new(client("silent_fuse")?);
        let server = command.args([&directory, &ready, &place.path().join("taken")]).spawn()?;
        let mounted = SilentFileSystem { directory, server, _place: place };
        until("the file system", WITHIN, || ready.exists().then_some(()))?;
        Ok(mounted)
    }

    /// Waits until process `name` of the session waits for this file system, and cannot be killed.
    fn blocks(&self, session: &Session, name: &str) -> Result<Process> {
        let taken = self.directory.with_file_name("taken");
        until("a request", WITHIN, || taken.exists().then_some(()))?;
        let is_named = |process: &Process| process.name().is_some_and(|found| found == name);
        session.processes().into_iter().find(is_named).context("the process that waits")
    }

    fn file(&self) -> String {
        self.directory.join("file").display().to_string()
    }
}

impl Drop for SilentFileSystem {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = umount2(&self.directory, MntFlags::MNT_DETACH);
    }
}

fn has_fuse() -> bool {
    let found = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !found {
        eprintln!("left out: no /dev/fuse");
    }
    found
}

/// A command that waits in the kernel is named, and the run ends without it.
#[test]
fn a_command_stuck_in_the_kernel_does_not_keep_a_run() -> Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let handles = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: None); open(sys.argv[1])";
    for profile in ["kcov", "all"] {
        for (name, words) in [("cat", &["cat"][..]), ("python3", &["python3", "-c", handles])] {
            let session = Session::new()?;
            let mounted = SilentFileSystem::mount()?;
            let words = words.iter().map(|word| (*word).to_owned()).chain([mounted.file()]);
            let mut running = Run::new(words).trace(profile).within(WITHIN).start_in(session)?;
            let stuck = mounted.blocks(&running.session, name)?;
            let begin = Instant::now();
            running.signal(Signal::SIGTERM)?;
            let status = running.wait()?;
            let took = begin.elapsed();
            let said = std::fs::read_to_string(running.session.path("stderr"))?;
            assert!(took < BOUND, "{name}: {took:?} {said}");
            assert_eq!(status.code(), Some(125), "{said}");
            let named = format!("cannot end pid {} ({name}, state D): ", stuck.0);
            assert_eq!(said.matches(&named).count(), 1, "named once: {said}");
            drop(mounted);
            running.finish()?;
        }
    }
    Ok(())
}

fn ends_in_time(mut service: Service, signal: Signal, bound: Duration) -> Result<String> {
    let begin = Instant::now();
    service.signal(signal)?;
    let status = service.wait_manager()?;
    let took = begin.elapsed();
    ensure!(took < bound, "took {took:?}: {}", service.log());
    ensure!(status.success(), "{status}: {}", service.log());
    Ok(service.log())
}

/// The same of a service, whose tenants have their own brokers.
#[test]
fn a_held_helper_does_not_keep_a_service() -> Result<()> {
    for name in HELPERS {
        let tenants = tenant("one", &["sleep", "1000"], "") + &tenant("two", &["sleep", "1000"], "");
        let mut service = Service::start(&tenants)?;
        let broker = service.wait_state("one", "running")?.broker.context("a broker")?;
        service.wait_state("two", "running")?;
        let found = || {
            let below = |process: &Process| process.0 == broker || process.descends_from(Process(broker));
            service.session.named(name).into_iter().find(below)
        };
        let held = hold(until(name, WITHIN, found)?)?;
        let begin = Instant::now();
        service.signal(Signal::SIGTERM)?;
        let ended = service.wait_end();
        let _ = waitpid(held, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
        let (took, log) = (begin.elapsed(), service.log());
        assert!(ended?.success() && took < BOUND, "{name}: {took:?} {log}");
        if name == "kcov-broker" {
            assert!(log.contains("broker_stuck"), "{log}");
        }
    }
    Ok(())
}

/// A tenant that waits in the kernel is named in the log.
#[test]
fn a_tenant_stuck_in_the_kernel_does_not_keep_a_service() -> Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let session = Session::new()?;
    let mounted = SilentFileSystem::mount()?;
    let tenants = tenant("one", &["cat", &mounted.file()], "");
    let service = Service::start_in(session, &tenants, &[], &[])?;
    mounted.blocks(&service.session, "cat")?;
    let log = ends_in_time(service, Signal::SIGTERM, BOUND)?;
    assert!(log.contains("(cat, state D)"), "{log}");
    drop(mounted);
    Ok(())
}

/// While the spawner is stopped, calls are served that need no new process.
#[test]
fn a_stopped_spawner_does_not_hold_up_calls() -> Result<()> {
    let script = "echo ready; read line < \"$0\"; for i in 1 2 3 4 5; do exec 7<>/sys/kernel/debug/kcov; exec 7<&-; done; echo done";
    let session = Session::new()?;
    let fifo = session.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    let words = ["bash".into(), "-c".into(), script.into(), fifo.clone().into_os_string()];
    let running = Run::new(words).trace("all").within(WITHIN).start_in(session)?;
    until("the command", WITHIN, || running.stdout().contains("ready").then_some(()))?;
    let spawner = helper(&running.session, running.front(), "kcov-spawner")?;
    send(spawner, Signal::SIGSTOP)?;
    // The next worker needs a reader, which the spawner does not start.
    send(helper(&running.session, running.front(), "kcov-worker")?, Signal::SIGKILL)?;
    let begin = Instant::now();
    go(&fifo)?;
    until("the calls", WITHIN, || running.stdout().contains("done").then_some(()))?;
    let took = begin.elapsed();
    send(spawner, Signal::SIGCONT)?;
    let outcome = running.finish()?;
    assert!(took < Duration::from_secs(5), "{took:?}: {}", outcome.stderr);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    Ok(())
}

fn go(fifo: &Path) -> Result<()> {
    Ok(std::fs::write(fifo, "go\n")?)
}
