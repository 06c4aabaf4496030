//! A worker may get any signal, from outside or raised by its handler: the call in flight is answered, the
//! next one is served, and nothing is left.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Control, Outcome, Run, Running, Session, client, library, until};
use nix::libc;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// All signals, including the real-time signals.
const ALL: std::ops::RangeInclusive<i32> = 1..=64;
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// Signals after which a worker goes on. It ignores some of them, reports its position on one, and handles
/// those that an instruction can raise: when sent by a process, these do not come again. The two signals that
/// the C library uses itself may be ignored as well.
const SURVIVED: [i32; 15] = [
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    32,
    33,
];
/// A low deadline, as each signal that does not end a worker takes one; and no long delays between workers,
/// most of which serve too few calls to reset the delay.
const OPTIONS: [&str; 4] = ["--deadline", "500ms", "--max-restart-delay", "10ms"];
const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
const ERRNO: u64 = 2;
const EIO: u64 = libc::EIO.unsigned_abs() as u64;

/// Signals that end a worker.
fn lethal() -> impl Iterator<Item = i32> {
    ALL.filter(|signal| !STOPS.contains(signal) && !SURVIVED.contains(signal))
}

/// Sends a signal of any number, by `kill` because the C library reserves some numbers. Returns whether the
/// process existed.
fn send(process: Process, signal: i32) -> Result<bool> {
    let words = [signal.to_string(), process.0.to_string()];
    Ok(Command::new("sh").args(["-c", "kill -$0 $1"]).args(words).status()?.success())
}

fn with_options(run: Run) -> Run {
    OPTIONS.iter().fold(run.logged(), |run, option| run.option(option))
}

fn with_faults(asks: &[&str]) -> Result<Run> {
    let words = [client("faults")?.into_os_string()].into_iter().chain(asks.iter().map(OsString::from));
    let run = Run::new(words).option("--handler").option(&library("faults")?.to_string_lossy());
    Ok(with_options(run))
}

/// Signals that ended workers and that the broker did not send.
fn ends(outcome: &Outcome) -> BTreeSet<i32> {
    let crashes = outcome.events().into_iter().filter(|event| event.name() == "worker_crash");
    let own = crashes.filter(|event| event.field("reason").is_none());
    own.filter_map(|event| event.field("signal")?.parse().ok()).collect()
}

/// Returns whether the process sleeps in its handler.
fn sleeps(worker: Process) -> bool {
    let call = fs::read_to_string(format!("/proc/{}/syscall", worker.0)).unwrap_or_default();
    call.starts_with(&format!("{} ", libc::SYS_clock_nanosleep))
}

/// Each signal in a call of its own, except for those without effect: they are sent together.
#[test]
fn any_signal_during_a_call_fails_only_that_call() -> Result<()> {
    let rounds: Vec<Vec<i32>> =
        lethal().chain(STOPS).map(|signal| vec![signal]).chain([SURVIVED.to_vec()]).collect();
    let asks: Vec<&str> = rounds.iter().flat_map(|_| ["7111", "7100:5"]).collect();
    let running = with_faults(&asks)?.start()?;
    for (round, signals) in rounds.iter().enumerate() {
        let asleep = || running.session.named("kcov-worker").into_iter().find(|worker| sleeps(*worker));
        let worker = until("a call in flight", WITHIN, asleep)?;
        for &signal in signals {
            assert!(send(worker, signal)?, "signal {signal}");
        }
        let stdout = || {
            let stdout = running.stdout();
            (stdout.lines().count() >= 2 * round + 2).then_some(stdout)
        };
        let stdout = until("the next call", WITHIN, stdout).with_context(|| format!("{signals:?}"))?;
        let results: Vec<_> = stdout.lines().skip(2 * round).collect();
        assert_eq!(results[..2], ["7111 -5 1", "7100 5 0"], "{signals:?}");
    }
    let outcome = running.finish()?;
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert_eq!(report.worker_crashes, rounds.len() as u64, "{report:?}");
    assert_eq!(ends(&outcome), lethal().collect(), "{}", outcome.stderr);
    Ok(())
}

/// A run whose client makes one traced call for each order.
struct Caller {
    running: Running,
    control: Control,
    calls: u64,
}

impl Caller {
    fn start(most: usize) -> Result<Self> {
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        let words = [client("one_call")?.into_os_string(), control.path().into(), most.to_string().into()];
        let mut running = with_options(Run::new(words).trace("getppid")).start_in(session)?;
        running.reach(&control, READY, 1)?;
        Ok(Caller { running, control, calls: 0 })
    }

    /// Orders a call of the client. Returns its errno.
    fn call(&mut self) -> Result<u64> {
        self.calls += 1;
        self.control.set(GO, self.calls)?;
        self.running.reach(&self.control, READY, self.calls + 1)?;
        self.control.get(ERRNO)
    }

    /// Sends a signal to the worker. A worker that died of the last signal may still be visible.
    fn signal(&self, signal: i32) -> Result<()> {
        until("a worker that lives", WITHIN, || {
            let worker = self.running.session.named("kcov-worker").first().copied()?;
            send(worker, signal).is_ok_and(|sent| sent).then_some(())
        })
    }
}

/// The first call afterwards may fail: the worker may have received it while the signal was on its way.
#[test]
fn any_signal_to_an_idle_worker_fails_at_most_one_call() -> Result<()> {
    let mut caller = Caller::start(2 * ALL.count() + 1)?;
    assert_eq!(caller.call()?, 0);
    for signal in ALL {
        caller.signal(signal)?;
        let errno = caller.call()?;
        assert!([0, EIO].contains(&errno), "errno {errno} after signal {signal}");
        assert_eq!(caller.call()?, 0, "errno of the next call after signal {signal}");
    }
    let outcome = caller.running.finish()?;
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert!(report.worker_crashes >= (lethal().count() + STOPS.len()) as u64, "{report:?}");
    assert!(ends(&outcome).is_superset(&lethal().collect()), "{}", outcome.stderr);
    Ok(())
}

/// A handler can only raise the SIGABRT of `abort`: for any other attempt the jail ends the worker.
#[test]
fn a_handler_that_signals_itself_fails_only_its_call() -> Result<()> {
    let raises: Vec<String> = ALL.map(|signal| format!("7112:{signal:x}")).collect();
    let asks: Vec<&str> = raises.iter().map(String::as_str).flat_map(|raise| [raise, "7100:5"]).collect();
    let outcome = with_faults(&[&asks[..], &["7113", "7100:5"]].concat())?.output()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let raised = ["7112 -5 1", "7100 5 0"].repeat(ALL.count());
    let results: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(results, [&raised[..], &["7113 -5 1", "7100 5 0"]].concat());
    outcome.report()?.assert_nothing_left();
    assert_eq!(ends(&outcome), BTreeSet::from([libc::SIGSYS, libc::SIGABRT, libc::SIGTRAP]));
    Ok(())
}
