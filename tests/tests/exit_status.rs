//! COMMAND runs as it would without the broker: its status, streams, environment and signals are unchanged.

use anyhow::Result;
use kcov_tests::{Outcome, Run, Session, library, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

fn code(command: &[&str]) -> Result<i32> {
    Ok(Run::new(command).output()?.code())
}

/// A file with this mode in the session's directory.
fn file(session: &Session, name: &str, text: &str, mode: u32) -> Result<PathBuf> {
    let path = session.path(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(path)
}

/// Standard output of a bash script, with and without the broker.
fn with_and_without_broker(run: Run) -> Result<(String, String)> {
    let with = run.output()?;
    assert_eq!(with.code(), 0, "{}", with.stderr);
    Ok((with.stdout, run.bare().output()?.stdout))
}

/// The front exits with the command's exit code.
#[test]
fn exit_codes_are_passed_on() -> Result<()> {
    assert_eq!(code(&["true"])?, 0);
    assert_eq!(code(&["false"])?, 1);
    assert_eq!(code(&["sh", "-c", "exit 42"])?, 42);
    assert_eq!(code(&["sh", "-c", "exit 255"])?, 255);
    Ok(())
}

/// Death by signal n is status 128 + n, as in a shell.
#[test]
fn death_by_a_signal_is_status_128_plus_its_number() -> Result<()> {
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("USR1", 10)] {
        assert_eq!(code(&["sh", "-c", &format!("kill -{name} $$")])?, 128 + number, "SIG{name}");
    }
    Ok(())
}

/// A command that cannot be started gives 126 or 127, as in a shell.
#[test]
fn commands_that_cannot_be_started_give_126_or_127() -> Result<()> {
    let session = Session::new()?;
    let plain = file(&session, "plain", "echo no\n", 0o644)?;
    let garbage = file(&session, "garbage", "#!/no/such/interpreter\n", 0o755)?;
    assert_eq!(code(&["no-such-command-anywhere"])?, 127, "not found in PATH");
    assert_eq!(code(&["/no/such/path"])?, 127, "no such path");
    assert_eq!(code(&["/tmp"])?, 126, "a directory");
    assert_eq!(code(&[&plain.to_string_lossy()])?, 126, "not executable");
    assert_eq!(code(&[&garbage.to_string_lossy()])?, 127, "interpreter not found");
    Ok(())
}

#[track_caller]
fn assert_own_error(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code(), 125, "{what}: {}", outcome.stderr);
    assert!(outcome.stderr.contains(what), "the message names {what}: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "the command did not run");
}

/// The broker's own errors give status 125 and a message, and the command does not run.
#[test]
fn the_brokers_own_errors_give_125() -> Result<()> {
    let echo = || Run::new(["echo", "ran"]);
    assert_own_error(&echo().option("--no-such-option").output()?, "--no-such-option");
    assert_own_error(&echo().trace("no_such_call").output()?, "no_such_call");
    assert_own_error(&echo().option("--deadline").option("soon").output()?, "soon");
    assert_own_error(&echo().option("--worker").option("/no/such/worker").output()?, "/no/such/worker");
    let nothing = Run::new(Vec::<String>::new()).output()?;
    assert_eq!(nothing.code(), 125, "no command: {}", nothing.stderr);
    Ok(())
}

/// A run under a run fails, and says why: the kernel permits one listener.
#[test]
fn a_run_under_a_run_says_why_not() -> Result<()> {
    let session = Session::new()?;
    let broker = session.path("kcov-broker").display().to_string();
    for profile in ["kcov", "all"] {
        let outcome = Run::new([&broker, "run", "--", "echo", "ran"]).trace(profile).output()?;
        assert_own_error(&outcome, "start kcov-broker outside of it");
        assert_own_error(&outcome, "EBUSY");
    }
    Ok(())
}

/// A script without `#!` is run by the shell, as execvp(3) does.
#[test]
fn a_script_without_interpreter_is_run_by_the_shell() -> Result<()> {
    let session = Session::new()?;
    let script = file(&session, "script", "echo \"ran with $1\"\nexit 7\n", 0o755)?;
    let outcome = Run::new([script.as_os_str(), "argument".as_ref()]).output()?;
    assert_eq!((outcome.stdout.as_str(), outcome.code()), ("ran with argument\n", 7), "{}", outcome.stderr);
    Ok(())
}

/// Standard input, output and error belong to the command.
#[test]
fn standard_streams_are_the_commands() -> Result<()> {
    let outcome = Run::bash("cat; echo wrong >&2").input(b"line one\nline two\n").output()?;
    assert_eq!(outcome.stdout, "line one\nline two\n");
    assert_eq!(outcome.stderr, "wrong\n");
    Ok(())
}

/// The command inherits no descriptor of the broker.
#[test]
fn no_descriptor_leaks_into_the_command() -> Result<()> {
    let (with, without) = with_and_without_broker(Run::new(["ls", "/proc/self/fd"]))?;
    assert_eq!(with, without);
    Ok(())
}

/// Environment, directory, umask, process group, signal mask and dispositions are inherited.
#[test]
fn process_attributes_are_inherited() -> Result<()> {
    let script = "env | grep -v '^_=' | sort; pwd; umask; nice; ulimit -a; cat /proc/self/oom_score_adj; \
                  grep -E '^(Sig(Blk|Ign|Cgt)|Cpus_allowed|Uid|Gid|Groups|Cap(Inh|Prm|Eff|Bnd|Amb)):' /proc/self/status";
    let run = Run::bash(script).env("SOME_VARIABLE", "some value").directory("/usr");
    // The mark of the session is the only variable that differs between two runs.
    let unmarked = |text: String| {
        text.lines().filter(|line| !line.starts_with("KCOV_TESTS_SESSION=")).collect::<Vec<_>>().join("\n")
    };
    let (with, without) = with_and_without_broker(run)?;
    assert_eq!(unmarked(with), unmarked(without));
    Ok(())
}

/// argv[0] is as given, not the path that the command was found at.
#[test]
fn the_commands_name_is_as_given() -> Result<()> {
    let (with, without) = with_and_without_broker(Run::new(["head", "-z", "-n1", "/proc/self/cmdline"]))?;
    assert_eq!(with, without);
    assert_eq!(with, "head\0");
    Ok(())
}

/// A signal to the front reaches the command.
#[test]
fn signals_are_forwarded() -> Result<()> {
    use Signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT] {
        let name = &signal.as_str()[3..];
        let script =
            format!("trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let mut running = Run::bash(&script).within(WITHIN).start()?;
        until("the trap", WITHIN, || running.stdout().contains("ready").then_some(()))?;
        running.signal(signal)?;
        running.wait()?;
        let outcome = running.finish()?;
        assert_eq!((outcome.stdout, outcome.status.code()), (format!("ready\ngot {name}\n"), Some(5)));
    }
    Ok(())
}

/// A signal at any time of the start ends the run: the command is signalled or never started.
#[test]
fn a_signal_during_the_start_ends_the_run() -> Result<()> {
    for milliseconds in (0..60).step_by(2) {
        let running = Run::new(["sleep", "1000"]).within(WITHIN).start()?;
        sleep(Duration::from_millis(milliseconds));
        running.signal(Signal::SIGTERM)?;
        let outcome = running.finish()?;
        // In the first moments, before there is anything to end, the front dies of the signal.
        let ends = [Some(128 + 15), None];
        assert!(ends.contains(&outcome.status.code()), "{:?}: {}", outcome.status, outcome.stderr);
        assert_eq!(outcome.stderr, "", "after {milliseconds} ms");
    }
    Ok(())
}

/// A signal also ends a run whose handler never finishes loading.
#[test]
fn a_signal_ends_a_run_whose_handler_is_still_loading() -> Result<()> {
    let handler = format!("{}:hang", library("probe")?.display());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        let running = Run::new(["true"]).option("--handler").option(&handler).within(WITHIN).start()?;
        until("the zygote", WITHIN, || running.session.named("kcov-zygote").first().copied())?;
        // SIGWINCH, SIGTSTP and SIGCONT before do not end it.
        running.signal(Signal::SIGWINCH)?;
        running.signal(Signal::SIGCONT)?;
        running.signal(signal)?;
        let outcome = running.finish()?;
        // Otherwise the run would fail with 125 after 10 s.
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (128 + signal as i32, ""));
    }
    Ok(())
}

/// The status reports a command that dies of the forwarded signal.
#[test]
fn a_forwarded_signal_may_end_the_command() -> Result<()> {
    let running = Run::bash("echo ready; exec sleep 1000").within(WITHIN).start()?;
    until("the command", WITHIN, || running.stdout().contains("ready").then_some(()))?;
    running.signal(Signal::SIGTERM)?;
    assert_eq!(running.finish()?.code(), 128 + 15);
    Ok(())
}

/// No process of the broker outlives the last process of the command.
#[test]
fn nothing_outlives_the_last_process() -> Result<()> {
    for _ in 0..10 {
        // finish() waits for that, and fails otherwise.
        Run::new(["true"]).output()?.report()?.assert_nothing_left();
    }
    Ok(())
}

/// The front ends with the command. A process that the command left in the background is still served.
#[test]
fn background_processes_are_served_after_the_command_ends() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("late");
    let device = "/sys/kernel/debug/kcov";
    let script = format!(
        "(exec >/dev/null 2>&1; sleep 1; exec 7<{device} && cat /proc/self/stat >{}) & exit 3",
        file.display()
    );
    let mut running = Run::bash(&script).trace("every").start_in(session)?;
    assert_eq!(running.wait()?.code(), Some(3));
    assert!(!file.exists(), "the front waited for the background process");
    until("the file of the background process", WITHIN, || {
        fs::read_to_string(&file).ok().filter(|text| text.contains("(cat)"))
    })?;
    running.finish()?.report()?.assert_nothing_left();
    Ok(())
}
