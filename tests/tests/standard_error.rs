//! Standard error that takes nothing does not end or hold up a run, and nothing raw of a tenant or a worker reaches it.

use anyhow::{Context, Result};
use kcov_tests::{Session, client, library, until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// A run whose command causes four crashes, calls on, and exits with 7.
fn crashing(session: &Session, options: &[&str]) -> Result<Command> {
    let mut command = session.command(session.path("kcov-broker"));
    command.arg("run").args(options).arg("--handler").arg(library("faults")?);
    let script = "\"$1\" 7101:8 7102:0 7105:3 7109:0 7100:5; exit 7";
    command.args(["--", "sh", "-c", script, "sh"]).arg(client("faults")?);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Asserts that the command runs to its end with this standard error.
#[track_caller]
fn assert_unharmed(options: &[&str], stderr: impl Into<Stdio>) -> Result<()> {
    let session = Session::new()?;
    let mut child = crashing(&session, options)?.stderr(stderr).spawn()?;
    let status = until("the run to end", WITHIN, || child.try_wait().ok().flatten())?;
    let mut stdout = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().context("its output")?, &mut stdout)?;
    assert_eq!(status.code(), Some(7), "{stdout}");
    assert!(stdout.ends_with("7100 5 0\n"), "{stdout}");
    Ok(())
}

fn full() -> Result<std::fs::File> {
    Ok(std::fs::File::options().write(true).open("/dev/full")?)
}

/// A pipe without room, and its other end.
fn full_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut file = std::fs::File::from(writer.try_clone()?);
    while file.write(&[b'x'; 4096]).is_ok() {}
    // Standard error of the run blocks, as usual.
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok((reader, writer))
}

#[test]
fn a_full_disk_does_not_end_a_run() -> Result<()> {
    assert_unharmed(&[], full()?)?;
    assert_unharmed(&["-vv", "--log-format", "json"], full()?)
}

#[test]
fn a_pipe_without_a_reader_does_not_end_a_run() -> Result<()> {
    let (reader, writer) = pipe()?;
    drop(reader);
    assert_unharmed(&["-vv"], writer)
}

#[test]
fn a_pipe_that_nobody_reads_does_not_hold_up_a_run() -> Result<()> {
    let (reader, writer) = full_pipe()?;
    assert_unharmed(&["-vv"], writer)?;
    drop(reader);
    Ok(())
}

#[test]
fn a_socket_that_nobody_reads_does_not_hold_up_a_run() -> Result<()> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    writer.set_nonblocking(false)?;
    assert_unharmed(&["-vv"], OwnedFd::from(writer))?;
    drop(reader);
    Ok(())
}

/// The command shares standard error and gets it as it is: blocking.
#[test]
fn the_commands_standard_error_is_not_changed() -> Result<()> {
    let session = Session::new()?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.args(["run", "--", "sh", "-c", "grep flags /proc/self/fdinfo/2"]).output()?;
    let flags = String::from_utf8(output.stdout)?;
    let flags = i32::from_str_radix(flags.trim_start_matches("flags:").trim(), 8)?;
    assert_eq!(flags & libc::O_NONBLOCK, 0, "{flags:o}");
    Ok(())
}

/// A closed standard error is the null device.
#[test]
fn a_closed_standard_error_does_not_end_a_run() -> Result<()> {
    let session = Session::new()?;
    let mut command = session.command("sh");
    command.args(["-c", "exec \"$0\" run --handler \"$1\" -- sh -c '\"$0\" 7101:8; exit 7' \"$2\" 2>&-"]);
    command.arg(session.path("kcov-broker")).arg(library("faults")?).arg(client("faults")?);
    assert_eq!(command.stdout(Stdio::null()).status()?.code(), Some(7));
    Ok(())
}

/// A panic's message has line breaks, and here an escape sequence. In the log each event is one line.
#[test]
fn the_output_of_a_worker_is_escaped_in_the_log() -> Result<()> {
    for format in ["text", "json"] {
        let session = Session::new()?;
        let mut command = session.command(session.path("kcov-broker"));
        command.args([
            "run",
            "-vv",
            "--log-format",
            format,
            "--worker",
            env!("CARGO_BIN_EXE_panicking-worker"),
        ]);
        let output = command.arg("--").arg(client("faults")?).arg("7104:0").output()?;
        let text = String::from_utf8(output.stderr)?;
        assert!(text.contains("nasty"), "{text}");
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        let is_event = |line: &str| match format {
            "json" => line.starts_with("{\"timestamp\":"),
            _ => line.starts_with("20") && line.get(10..11) == Some("T"),
        };
        assert!(text.lines().all(is_event), "{text}");
    }
    Ok(())
}
