//! The broker run by an ordinary user: the same device, without any privilege.

use anyhow::{Context, Result};
use kcov_tests::ordinary::{as_user, own, run, session, user, words};
use kcov_tests::process::Process;
use kcov_tests::transcript::{check_operations, check_points, deviations, kernel, parse, recorded};
use kcov_tests::{Control, Outcome, Run, Running, Session, client, library, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;
/// A user namespace that maps one uid has no other uid to change to.
const NO_SECOND_USER: &str = "open.nonroot";
/// Without `--map-root` the device belongs to the user that runs the command.
const OWNER: &str = "file.fstat_owner";

fn control(session: &Session) -> Result<Control> {
    let control = Control::new(session.path("control"))?;
    own(control.path())?;
    Ok(control)
}

fn output<W: AsRef<std::ffi::OsStr>>(options: &[&str], command: &[W]) -> Result<Outcome> {
    let session = session()?;
    let run = run(&session, options, command)?.directory(session.directory());
    run.start_in(session)?.finish()
}

/// The user's run of `command` without a broker.
fn bare(command: &[&str]) -> Result<Outcome> {
    let session = session()?;
    let run = Run::new(as_user()?.into_iter().chain(words(command))).bare().directory(session.directory());
    run.start_in(session)?.finish()
}

/// A run whose client waits for the test.
fn start(name: &str, options: &[&str], arguments: &[&str]) -> Result<(Running, Control)> {
    let session = session()?;
    let control = control(&session)?;
    let command = [client(name)?.into_os_string(), control.path().as_os_str().to_owned()];
    let command: Vec<_> = command.into_iter().chain(words(arguments)).collect();
    let mut running = run(&session, options, &command)?.start_in(session)?;
    running.reach(&control, READY, 1)?;
    Ok((running, control))
}

/// Options for a comparison with the transcripts, which are of Linux 6.12.
const AS_RECORDED: [&str; 4] = ["--trace", "every", "--kcov-rules", "6.12"];

/// Runs the conformance program and compares; the points of `besides` may differ too.
#[track_caller]
fn assert_points(options: &[&str], besides: &[&str]) -> Result<Outcome> {
    let program = client("kcov_conformance")?;
    let command = [program.as_os_str(), "-x".as_ref(), "rt,vhost,usb".as_ref()];
    let outcome = output(&[&AS_RECORDED, options].concat(), &command)?;
    let kernel = kernel(&recorded("kernel-transcript.txt")?)?;
    let mut may_differ = deviations(&recorded("deviations.txt")?)?;
    may_differ.extend(besides.iter().map(|&name| name.to_owned()));
    check_points(&outcome, &kernel, &may_differ)?;
    Ok(outcome)
}

/// As root of their own namespace, users see the kernel's device, point by point.
#[test]
fn every_point_equals_the_kernels_for_a_mapped_root() -> Result<()> {
    assert_points(&["--map-root"], &[NO_SECOND_USER])?;
    Ok(())
}

/// Under their own uid, users see the same, except that the device belongs to them.
#[test]
fn every_point_but_the_owner_equals_the_kernels() -> Result<()> {
    let outcome = assert_points(&[], &[NO_SECOND_USER, OWNER])?;
    let points = parse(&outcome.stdout)?;
    assert_eq!(points.get(OWNER), Some(&format!("{0}:{0}", user()?)));
    Ok(())
}

/// Random operations give the kernel's output, byte for byte.
#[test]
fn random_operations_equal_the_kernels() -> Result<()> {
    let program = client("kcov_conformance")?.into_os_string();
    let command: Vec<_> =
        [program].into_iter().chain(words(&["-w", "1", "--stress", "3000", "--seed", "1"])).collect();
    let outcome = output(&AS_RECORDED, &command)?;
    check_operations(&outcome, "kernel-stress-1.txt")
}

/// Whole lives of instances leave nothing behind.
#[test]
fn whole_lives_leave_nothing() -> Result<()> {
    let command = [client("life_cycle")?.into_os_string(), "300".into()];
    let outcome = output(&["--trace", "kcov,getppid"], &command)?;
    assert_eq!(outcome.stdout.trim(), "300");
    assert_eq!(outcome.assert_sound()?.instances_opened, 300);
    Ok(())
}

/// A client that is not dumpable, so that no process of its user may trace it, is served.
#[test]
fn a_client_that_is_not_dumpable_is_served() -> Result<()> {
    let program = client("undumpable")?;
    for options in [&["--trace", "every"][..], &["--trace", "every", "--map-root"]] {
        let outcome = output(options, &[&program])?;
        assert_eq!((outcome.stdout.trim(), outcome.stderr.as_str()), ("ok", ""), "{options:?}");
        outcome.assert_sound()?;
    }
    Ok(())
}

/// The device works in a user namespace that the command creates.
#[test]
fn a_nested_user_namespace_is_served() -> Result<()> {
    let program = client("undumpable")?;
    let command = ["unshare".as_ref(), "-Urm".as_ref(), program.as_os_str()];
    let outcome = output(&["--trace", "every"], &command)?;
    assert_eq!(outcome.stdout.trim(), "ok", "{}", outcome.stderr);
    outcome.assert_sound()?;
    Ok(())
}

/// Asserts that a script prints the same with every call traced as without the broker, for the same user.
#[track_caller]
fn assert_same_output(command: &[&str], telling: &str) -> Result<()> {
    let traced = output(&["--trace", "every"], command)?;
    traced.assert_sound()?;
    assert_eq!(traced.stdout, bare(command)?.stdout, "{}", traced.stderr);
    assert!(traced.stdout.contains(telling), "{}", traced.stdout);
    Ok(())
}

#[test]
fn bash_runs_unchanged() -> Result<()> {
    let script = r#"
        set -euo pipefail
        seq 1 2000 | sort -rn | awk '{ sum += $1 } END { print sum }'
        for i in 1 2 3 4; do (sleep 0.0$i; exit $i) & done
        total=0; for job in $(jobs -p); do wait "$job" || total=$((total + $?)); done; echo "total $total"
        trap 'echo trapped' USR1; kill -USR1 $$
        id -u; id -g; echo kept > kept; cat kept; rm kept
    "#;
    assert_same_output(&["bash", "-c", script], "total 10")
}

#[test]
fn python_runs_unchanged() -> Result<()> {
    let script = r"
import multiprocessing, subprocess, tempfile, threading
total, lock = 0, threading.Lock()
def add(n):
    global total
    for _ in range(100):
        with lock: total += n
def square(n): return n * n
threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print('threads', total)
print('subprocess', subprocess.run(['sh', '-c', 'cat; exit 4'], input=b'in', capture_output=True))
with multiprocessing.get_context('fork').Pool(4) as pool: print('pool', sum(pool.map(square, range(1000))))
with tempfile.TemporaryFile() as f: print('file', f.write(b'x' * 100000))
";
    assert_same_output(&["python3", "-c", script], "pool 332833500")
}

#[test]
fn a_compiler_and_its_program_run_unchanged() -> Result<()> {
    let source = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n";
    let script = format!("printf %s '{source}' > one.c && cc -O2 -o one one.c && ./one && rm one one.c");
    assert_same_output(&["bash", "-c", &script], "compiled")
}

/// The run has the command's exit status, or a shell's status for a command that cannot be run.
#[test]
fn exit_statuses_are_the_commands() -> Result<()> {
    let code = |command: &[&str]| -> Result<i32> { Ok(output(&[], command)?.code()) };
    assert_eq!(code(&["true"])?, 0);
    assert_eq!(code(&["sh", "-c", "exit 42"])?, 42);
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"])?, 128 + 9);
    assert_eq!(code(&["/no/such/command"])?, 127);
    assert_eq!(code(&["/etc/passwd"])?, 126);
    Ok(())
}

fn fields(process: Process, names: &[&str]) -> Result<Vec<String>> {
    let status = process.status().with_context(|| format!("{process:?} is gone"))?;
    names.iter().map(|&name| status.get(name).cloned().with_context(|| name.to_owned())).collect()
}

fn user_namespace(process: Process) -> Result<PathBuf> {
    Ok(fs::read_link(format!("/proc/{}/ns/user", process.0))?)
}

fn named(running: &Running, name: &str) -> Result<Process> {
    until(&format!("a process {name}"), WITHIN, || running.session.named(name).first().copied())
}

fn command(running: &Running, program: &Path) -> Result<Process> {
    let processes = running.session.processes().into_iter();
    let mut found = processes.filter(|process| process.executable().is_some_and(|path| path == program));
    found.next().context("the command was not found")
}

/// Workers and zygote have the user's uid and nothing else: no capabilities, only empty namespaces, and no
/// process of the same user may trace them.
#[test]
fn workers_and_zygote_have_no_privilege() -> Result<()> {
    const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let (running, control) = start("hold", &["--trace", "kcov"], &[])?;
    let tenant = command(&running, &client("hold")?)?;
    for name in ["kcov-worker", "kcov-zygote"] {
        let process = named(&running, name)?;
        let user = user()?.to_string();
        assert_eq!(
            fields(process, &["Uid"])?[0].split_whitespace().collect::<Vec<_>>(),
            [&user; 4],
            "{name}"
        );
        assert_eq!(fields(process, &CAPABILITIES)?, ["0000000000000000"; 5], "{name}");
        assert_eq!(fields(process, &["NoNewPrivs", "Seccomp"])?, ["1", "2"], "{name}");
        assert_eq!(process.proc_owner(), Some(0), "{name} is dumpable");
        let own = user_namespace(process)?;
        for other in [tenant, running.front(), named(&running, "kcov-broker")?] {
            assert_ne!(own, user_namespace(other)?, "{name} and {other:?}");
        }
        let map = fs::read_to_string(format!("/proc/{}/uid_map", process.0))?;
        assert_eq!(map, "", "{name} has a number in its namespace");
    }
    assert_eq!(fields(tenant, &["CapEff", "CapPrm", "CapAmb"])?, ["0000000000000000"; 3]);
    assert_ne!(user_namespace(tenant)?, user_namespace(running.front())?);
    control.set(GO, 1)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

/// A worker that stops is killed at the deadline: its caller gets EIO, or the next worker serves it.
#[test]
fn a_worker_that_stops_is_replaced() -> Result<()> {
    let options = ["--trace", "kcov,getppid", "--deadline", "500ms"];
    let (mut running, control) = start("one_call", &options, &["2"])?;
    let worker = named(&running, "kcov-worker")?;
    kill(Pid::from_raw(worker.0), Signal::SIGSTOP)?;
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    let errno = control.get(FACTS)?;
    assert!([0, u64::from(libc::EIO.unsigned_abs())].contains(&errno), "errno {errno} of the call");
    control.set(GO, 2)?;
    let outcome = running.finish()?;
    assert_eq!(control.get(FACTS)?, 0, "errno of the next call");
    assert_eq!((outcome.code(), outcome.report()?.worker_crashes), (0, 1));
    outcome.report()?.assert_nothing_left();
    Ok(())
}

/// A setuid-root program runs with the uid of the user who started it.
#[test]
fn setuid_programs_gain_nothing() -> Result<()> {
    let session = session()?;
    let program = session.path("id");
    fs::copy("/usr/bin/id", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    assert!(nix::unistd::access(&program, AccessFlags::X_OK).is_ok());
    let command = [program.as_os_str(), "-u".as_ref()];
    let outcome = run(&session, &[], &command)?.start_in(session)?.finish()?;
    assert_eq!(outcome.stdout.trim(), user()?.to_string());
    Ok(())
}

/// The broker treats root of a user namespace that maps no other uid as an ordinary user.
#[test]
fn root_of_a_small_namespace_is_an_ordinary_user() -> Result<()> {
    let session = session()?;
    let broker = session.path("kcov-broker");
    let words = words(&["unshare", "-r"]).into_iter().chain([broker.into_os_string()]);
    let line =
        as_user()?.into_iter().chain(words).chain(["run".into(), "--".into(), "id".into(), "-u".into()]);
    let outcome = Run::new(line).bare().start_in(session)?.finish()?;
    assert_eq!((outcome.code(), outcome.stdout.trim()), (0, "0"), "{}", outcome.stderr);
    Ok(())
}

/// A run on a machine that permits no namespaces of one kind.
fn without_namespaces(kind: &str) -> Result<Outcome> {
    let session = session()?;
    let broker = session.path("kcov-broker");
    let script = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces; exec {} run true", broker.display());
    let line = as_user()?.into_iter().chain(words(&["unshare", "-r", "sh", "-c", &script]));
    Run::new(line).bare().start_in(session)?.finish()
}

/// Where user namespaces are forbidden, the message names the sysctl.
#[test]
fn forbidden_user_namespaces_are_reported() -> Result<()> {
    let outcome = without_namespaces("user")?;
    assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("sysctl -w user.max_user_namespaces"), "{}", outcome.stderr);
    Ok(())
}

/// Workers run in the complete jail or not at all.
#[test]
fn a_missing_part_of_the_jail_is_reported() -> Result<()> {
    for (kind, call) in [("net", "unshare(CLONE_NEWNET)"), ("ipc", "unshare(CLONE_NEWIPC)")] {
        let outcome = without_namespaces(kind)?;
        assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
        let message = format!("the workers cannot be jailed: {call}: ENOSPC");
        assert!(outcome.stderr.contains(&message), "{}", outcome.stderr);
    }
    Ok(())
}

/// An ordinary user may not trace workers, and so does not see their exit status in procfs: the zygote reports it.
#[test]
fn the_signal_or_status_that_ended_a_worker_is_reported() -> Result<()> {
    let session = session()?;
    let (library, client) = (library("faults")?, client("faults")?);
    let artifacts = session.path("artifacts");
    let (library, folder) = (library.to_string_lossy(), artifacts.to_string_lossy());
    let options = ["--log-format", "json", "--handler", &library, "--artifacts", &folder];
    let asks = ["7101:8", "7102:0", "7105:3", "7109:0"].map(OsString::from);
    let command: Vec<_> = [client.into_os_string()].into_iter().chain(asks).collect();
    let mut running = run(&session, &options, &command)?.start_in(session)?;
    running.wait()?;
    let mut names: Vec<String> = fs::read_dir(&artifacts)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let ends: Vec<_> = names.iter().filter_map(|name| name.rsplit_once('-')).map(|(end, _)| end).collect();
    assert_eq!(ends, ["SIGABRT", "SIGILL", "SIGSEGV", "exit-3"]);
    let events = running.finish()?.events();
    let crashes = events.iter().filter(|event| event.name() == "worker_crash");
    let ends: Vec<_> = crashes.map(|event| (event.field("signal"), event.field("status"))).collect();
    let signal = |signal: Signal| (Some((signal as i32).to_string()), None);
    let status = (None, Some("3".to_owned()));
    assert_eq!(ends, [signal(Signal::SIGSEGV), signal(Signal::SIGABRT), status, signal(Signal::SIGILL)]);
    Ok(())
}

/// When the front ends, no process of the run is left, not even a background process of the command.
#[test]
fn no_process_is_left_after_the_front() -> Result<()> {
    let session = session()?;
    let mut running =
        run(&session, &["--trace", "every"], &["sh", "-c", "sleep 0.2 & exit 3"])?.start_in(session)?;
    assert_eq!(running.wait()?.code(), Some(3));
    let session = &running.session;
    until("every process to end", WITHIN, || session.processes().is_empty().then_some(()))
}
