//! On a terminal the command is a job like any other.

use anyhow::Result;
use kcov_tests::process::Process;
use kcov_tests::terminal::Terminal;
use kcov_tests::{Run, Session, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const PROMPT: &str = "prompt> ";

/// A shell with job control on a terminal, and the command line that runs `command` under the broker.
fn shell(command: &[&str], profile: &str) -> Result<(Terminal, String)> {
    shell_for(&Run::new(command.iter().copied()).trace(profile))
}

fn shell_for(run: &Run) -> Result<(Terminal, String)> {
    let session = Session::new()?;
    let line = run.line(&session)?;
    let words = [line.get_program()].into_iter().chain(line.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let mut terminal = Terminal::start(session, &["bash", "--norc", "--noprofile", "-i"])?;
    // The quotes keep the prompt from appearing in the echo of this line.
    terminal.press("PS1='prompt''> '; bind 'set enable-bracketed-paste off'\n")?;
    terminal.expect(PROMPT)?;
    Ok((terminal, line))
}

/// Waits until the command runs: a process of this program other than the shell itself.
fn wait_for(terminal: &Terminal, program: &str) -> Result<()> {
    let runs = |path: &Path| path.file_name().is_some_and(|name| name == program);
    until(&format!("a process {program}"), WITHIN, || {
        let processes = terminal.session.processes();
        processes.iter().any(|process| process.executable().is_some_and(|path| runs(&path))).then_some(())
    })
}

fn assert_last_status(terminal: &mut Terminal, status: i32) -> Result<()> {
    terminal.press("echo \"status=\"$?\n")?;
    terminal.expect(&format!("status={status}\r\n"))?;
    terminal.expect(PROMPT)?;
    Ok(())
}

/// The command's streams are the terminal, and it is the controlling terminal.
#[test]
fn the_command_has_the_terminal() -> Result<()> {
    let (mut terminal, line) =
        shell(&["bash", "-c", "'tty; test -t 0 -a -t 1 -a -t 2 && stty size </dev/tty'"], "every")?;
    terminal.press("stty rows 33 cols 77; echo \"here=\"$(tty)\n")?;
    let shown = terminal.expect(PROMPT)?;
    let here = shown.lines().find_map(|line| line.strip_prefix("here=")).unwrap_or("no terminal").to_owned();
    terminal.press(&format!("{line}\n"))?;
    terminal.expect(&format!("{here}\r\n33 77\r\n"))?;
    terminal.expect(PROMPT)?;
    assert_last_status(&mut terminal, 0)
}

/// Ctrl-C ends the command but not the shell.
#[test]
fn control_c_ends_the_command() -> Result<()> {
    let (mut terminal, line) = shell(&["sleep", "1000"], "every")?;
    terminal.press(&format!("{line}\n"))?;
    wait_for(&terminal, "sleep")?;
    terminal.press("\x03")?;
    terminal.expect(PROMPT)?;
    assert_last_status(&mut terminal, 130)?;
    until("the broker's processes to end", WITHIN, || {
        terminal.session.own_processes().is_empty().then_some(())
    })
}

/// Ctrl-Z stops the job, `fg` continues it, and it reads from the terminal again.
#[test]
fn control_z_stops_and_fg_continues() -> Result<()> {
    let (mut terminal, line) = shell(&["cat"], "every")?;
    terminal.press(&format!("{line}\n"))?;
    wait_for(&terminal, "cat")?;
    terminal.press("before\n")?;
    terminal.expect("before\r\nbefore\r\n")?;
    for round in 0..3 {
        terminal.press("\x1a")?;
        terminal.expect("Stopped")?;
        terminal.expect(PROMPT)?;
        terminal.press("fg\n")?;
        terminal.expect("\r\n")?;
        terminal.press(&format!("again {round}\n"))?;
        terminal.expect(&format!("again {round}\r\nagain {round}\r\n"))?;
    }
    terminal.press("\x04")?;
    terminal.expect(PROMPT)?;
    assert_last_status(&mut terminal, 0)
}

/// A job that was started and stopped in the background continues with `bg` and can be waited for.
#[test]
fn background_jobs_can_be_stopped_and_continued() -> Result<()> {
    let (mut terminal, line) = shell(&["sh", "-c", "'sleep 0.5; exit 6'"], "kcov")?;
    terminal.press(&format!("{line} &\n"))?;
    terminal.expect(PROMPT)?;
    terminal.press("kill -STOP %1; sleep 0.2; bg %1; wait %1\n")?;
    terminal.expect(PROMPT)?;
    assert_last_status(&mut terminal, 6)
}

/// A command that goes on without its broker still reacts to the keys for stop, continue and end.
#[test]
fn a_command_without_a_broker_is_still_a_job() -> Result<()> {
    let run = Run::new(["cat"]).trace("getppid").option("--on-broker-death").option("enosys");
    let (mut terminal, line) = shell_for(&run)?;
    terminal.press(&format!("{line}\n"))?;
    wait_for(&terminal, "cat")?;
    // It opens no more files after that.
    terminal.press("before\n")?;
    terminal.expect("before\r\nbefore\r\n")?;
    let named = terminal.session.named("kcov-broker").into_iter();
    let is_front =
        |process: &Process| process.parent().and_then(Process::name).is_some_and(|name| name == "bash");
    let (front, broker): (Vec<_>, Vec<_>) = named.into_iter().partition(is_front);
    assert_eq!((front.len(), broker.len()), (1, 1));
    kill(Pid::from_raw(broker[0].0), Signal::SIGKILL)?;
    terminal.expect("the command keeps running")?;
    terminal.expect("\n")?;
    terminal.press("\x1a")?;
    terminal.expect("Stopped")?;
    terminal.expect(PROMPT)?;
    terminal.press("fg\n")?;
    terminal.expect("\r\n")?;
    terminal.press("again\n")?;
    terminal.expect("again\r\nagain\r\n")?;
    terminal.press("\x03")?;
    terminal.expect(PROMPT)?;
    assert_last_status(&mut terminal, 125)
}
