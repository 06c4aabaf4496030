//! Handlers as users write them: libraries in C and worker programs in Rust.

use anyhow::Result;
use kcov_tests::binaries::example;
use kcov_tests::client::library_with;
use kcov_tests::{Outcome, Run, Running, Session, client, library, long, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

fn handler(library: &Path, config: &str) -> OsString {
    let mut text = library.as_os_str().to_owned();
    if !config.is_empty() {
        text.push(":");
        text.push(config);
    }
    text
}

fn probe(what: &str, options: &[&str]) -> Result<Outcome> {
    let program = client("handler_probe")?;
    let library = handler(&library("probe")?, "");
    let mut run = Run::new([program.as_os_str(), what.as_ref()]).logged();
    run = run.option("--handler").option(&library.to_string_lossy());
    for option in options {
        run = run.option(option);
    }
    run.output()
}

fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().collect()
}

fn errno(number: i32) -> i64 {
    -i64::from(number)
}

#[test]
fn a_file_has_state_until_its_last_close() -> Result<()> {
    for trace in ["kcov", "syzkaller", "every"] {
        let outcome = probe("state", &["--trace", trace])?;
        outcome.assert_sound()?;
        let notty = errno(libc::ENOTTY);
        let expected = [
            "sums 142 5".to_owned(),
            "wide 0".to_owned(),
            format!("other {notty}"),
            format!("beyond {notty}"),
            format!("not ours {notty}"),
            "held 0".to_owned(),
            "released 1".to_owned(),
        ];
        assert_eq!(lines(&outcome), expected, "--trace {trace}");
        let report = outcome.report()?;
        assert_eq!((report.files_opened, report.files_live), (2, 0));
    }
    Ok(())
}

#[test]
fn the_device_is_found_by_any_spelling_and_only_in_its_own_run() -> Result<()> {
    let outcome = probe("paths", &[])?;
    outcome.assert_sound()?;
    let line = |name: &str, number: i32| format!("{name} {}", errno(number));
    let expected = [
        "mode 666".to_owned(),
        "again 0".to_owned(),
        "spelled 0".to_owned(),
        line("busy", libc::EBUSY),
        line("none", libc::ENOENT),
        line("path", libc::EBADF),
        line("exclusive", libc::EEXIST),
        line("write", libc::EPERM),
        line("grow", libc::EPERM),
    ];
    assert_eq!(lines(&outcome), expected);
    assert!(!Path::new("/dev/probe").exists() && !Path::new("/dev/probes").exists());
    Ok(())
}

#[test]
fn a_handler_reads_and_writes_its_callers_memory_within_bounds() -> Result<()> {
    let outcome = probe("memory", &[])?;
    outcome.assert_sound()?;
    let fault = errno(libc::EFAULT);
    let expected = [
        "copy 0".to_owned(),
        "equal 1".to_owned(),
        format!("past the end {fault}"),
        format!("from past the end {fault}"),
        format!("read-only {fault}"),
        format!("wraps {fault}"),
        // The handler asks for more than it may request at a time.
        format!("too much {}", errno(libc::EINVAL)),
        "nothing 0".to_owned(),
        format!("null {fault}"),
    ];
    assert_eq!(lines(&outcome), expected);
    Ok(())
}

#[test]
fn every_kind_of_answer_arrives() -> Result<()> {
    let outcome = probe("answers", &["-v"])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let expected = [
        "value 1044".to_owned(),
        format!("error {}", errno(libc::EXDEV)),
        format!("continued {}", errno(libc::EINVAL)),
        format!("not claimed {}", errno(libc::EINVAL)),
        "eventfd 5, close-on-exec 0".to_owned(),
        "memfd probe, close-on-exec 1".to_owned(),
    ];
    assert_eq!(lines(&outcome), expected, "only the handler's own descriptors are passed on");
    let reasons: Vec<_> = outcome.events().into_iter().filter(|event| event.name() == "continue").collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(reasons[0].field("handler").as_deref(), Some("probe"));
    assert_eq!(reasons[0].field("reason").as_deref(), Some("it asks for 40"));
    outcome.report()?.assert_nothing_left();
    Ok(())
}

#[test]
fn what_a_handler_records_is_in_the_callers_area() -> Result<()> {
    let outcome = probe("records", &[])?;
    outcome.assert_sound()?;
    let lines = lines(&outcome);
    let pcs: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(lines[0], lines[1], "the same call leaves the same records");
    assert_eq!(pcs[..2], ["pcs", "3"], "{lines:?}");
    assert!(pcs[2..].iter().all(|pc| pc.starts_with("ffffffff")), "{pcs:?}");
    assert_eq!(lines[2..4], ["open has the handler's edge", "call 1"]);
    // KCOV_CMP_SIZE(1) with KCOV_CMP_CONST, KCOV_CMP_SIZE(3): 2 and 8 bytes.
    assert_eq!(lines[4], "comparisons 2 3:1234:9 6:9:7");
    Ok(())
}

#[test]
fn a_crash_fails_its_own_call_and_the_files_of_its_worker() -> Result<()> {
    let outcome = probe("crash", &[])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let eio = errno(libc::EIO);
    assert_eq!(lines(&outcome), [format!("lost {eio} {eio}"), "anew 0, wrong 0".to_owned()]);
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert!(report.worker_crashes > 0);
    Ok(())
}

#[test]
fn a_handler_that_hangs_delays_its_caller_by_one_deadline() -> Result<()> {
    let outcome = probe("hang", &["--deadline", "300ms"])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let eio = errno(libc::EIO);
    let expected = [format!("hang {eio}"), format!("hang in open {eio}"), "after 0".to_owned()];
    assert_eq!(lines(&outcome), expected);
    outcome.report()?.assert_nothing_left();
    Ok(())
}

/// It is reported once, and runs: `adder.c` is only covered by compiler instrumentation, and is built
/// without.
#[test]
fn a_handler_that_records_nothing_is_reported_once() -> Result<()> {
    let run = Run::new([client("client")?.into_os_string(), "3".into(), "4".into()]);
    let outcome = run.option("--handler").option(&library("adder")?.to_string_lossy()).output()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let said = outcome.stderr.matches("the handler adder recorded nothing").count();
    assert_eq!(said, 1, "{}", outcome.stderr);
    Ok(())
}

#[test]
fn a_library_that_is_not_a_handler_is_refused_before_the_tenant_starts() -> Result<()> {
    let good = library("probe")?;
    let folder = tempfile::tempdir()?;
    let [unreadable, colon] = ["libunreadable.so", "lib:colon.so"].map(|name| folder.path().join(name));
    fs::copy(&good, &unreadable)?;
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o600))?;
    fs::copy(&good, &colon)?;
    // The machine is that of its ELF header.
    let foreign = folder.path().join("libforeign.so");
    let mut bytes = std::fs::read(&good)?;
    bytes[18] = 0xf3;
    std::fs::write(&foreign, bytes)?;
    let mut cases: Vec<(OsString, &str)> = vec![
        (
            handler(Path::new("/nowhere/libfoo.so"), ""),
            "cannot use the handler /nowhere/libfoo.so: there is no such file",
        ),
        (handler(Path::new("/"), ""), "it is not a file"),
        (handler(Path::new("/etc/passwd"), ""), "it cannot be loaded: /etc/passwd: "),
        (handler(&library("no_handler")?, ""), "exports no `kcov_handler_v1`"),
        (handler(&library("later_version")?, ""), "version 2"),
        (handler(&good, "version"), "version 7"),
        (handler(&good, "refuse"), "it refuses: the moon is not full"),
        (handler(&good, "silent"), "it refuses: it does not say why"),
        (handler(&good, "null"), "it refuses: it does not say why"),
        (handler(&good, "place"), "a handler's device in a directory of /dev that the machine has: EEXIST"),
        (handler(&foreign, ""), "it is for another machine"),
        (handler(&good, "crash"), "ended the worker program by SIGSEGV"),
        (handler(&good, "exit"), "ended the worker program with status 3"),
        (handler(&good, "thread"), "started threads"),
        (handler(&good, "nameless"), "it has no name"),
        (handler(&good, "path"), "invalid device path `/etc/passwd`: use /dev/NAME"),
        (handler(&good, "call"), "no system call is named `frobnicate`"),
        (handler(&good, "never"), "`rt_sigreturn` cannot be handled"),
        (handler(&good, "hang"), "does not return within 10 s"),
        (handler(&unreadable, ""), "may not read it: run chmod a+r"),
        (handler(&colon, ""), "its path contains a colon, which starts the configuration"),
        (handler(&library("constructor")?, ""), "while loaded, ended the worker program by SIGABRT"),
    ];
    if long() {
        let flags = ["-shared", "-fPIC", "-DHANGS"].map(OsString::from);
        let hangs = library_with("constructor", "_hangs", flags)?;
        cases.push((handler(&hangs, ""), "while loaded, does not return within 10 s"));
    }
    for (library, expected) in cases {
        let outcome =
            Run::new(["echo", "started"]).option("--handler").option(&library.to_string_lossy()).output()?;
        assert_eq!(outcome.code(), 125, "{library:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{library:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{library:?}");
    }
    Ok(())
}

/// An executable stack would let a tenant run any data that it gets onto the stack.
#[test]
fn a_library_with_writable_and_executable_memory_is_refused() -> Result<()> {
    let include = format!("-I{}", kcov_tests::binaries::workspace().join("worker/include").display());
    let flags = ["-shared", "-fPIC", "-pthread", "-z", "execstack", &include];
    let library = library_with("probe", "_execstack", flags.map(OsString::from))?;
    let run = Run::new(["echo", "started"]).option("--handler").option(&library.to_string_lossy());
    let outcome = run.output()?;
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (125, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("can be written and executed"), "{}", outcome.stderr);
    Ok(())
}

#[test]
fn a_users_own_worker_program_serves() -> Result<()> {
    let worker = example("adder")?;
    let script = "import fcntl, os, struct\n\
        fd = os.open('/dev/adder', os.O_RDWR)\n\
        fcntl.ioctl(fd, 0x7001, 40); fcntl.ioctl(fd, 0x7001, 2)\n\
        print(struct.unpack('Q', fcntl.ioctl(fd, 0x7002, bytes(8)))[0])\n\
        try: fcntl.ioctl(fd, 0x7001, 1 << 40)\n\
        except (OSError, OverflowError) as error: print(type(error).__name__)\n";
    let run = Run::new(["python3", "-c", script]).option("--worker").option(&worker.to_string_lossy());
    let outcome = run.output()?;
    outcome.assert_sound()?;
    assert_eq!(lines(&outcome)[0], "42");
    Ok(())
}

/// A reader that gets no processor time for a while delays the call but does not fail it.
#[test]
fn a_reader_that_is_slow_is_waited_for() -> Result<()> {
    let worker = example("adder")?;
    let script = "import fcntl, os, sys\n\
        fd = os.open('/dev/adder', os.O_RDWR)\n\
        while not os.path.exists(sys.argv[1]): fcntl.ioctl(fd, 0x7002, bytes(8)); print(flush=True)\n\
        print('all')\n";
    let session = Session::new()?;
    let end = session.path("end");
    let run = Run::new(["python3".as_ref(), "-c".as_ref(), script.as_ref(), end.as_os_str()]);
    let run = run.option("--worker").option(&worker.to_string_lossy());
    let mut running = run.start_in(session)?;
    for pause in 1..=3 {
        let calls = |running: &Running| running.stdout().lines().count();
        let before = calls(&running);
        until("more calls", WITHIN, || (calls(&running) > before).then_some(()))?;
        for reader in running.session.named("kcov-reader") {
            kill(Pid::from_raw(reader.0), Signal::SIGSTOP)?;
            // Longer than a reader may hold up other calls, shorter than the deadline.
            sleep(Duration::from_millis(200 * pause));
            kill(Pid::from_raw(reader.0), Signal::SIGCONT)?;
        }
    }
    fs::write(end, "")?;
    running.wait()?;
    let outcome = running.finish()?;
    assert_eq!(lines(&outcome).last(), Some(&"all"), "{}", outcome.stderr);
    outcome.assert_sound()?;
    Ok(())
}

#[test]
fn two_handlers_run_side_by_side() -> Result<()> {
    let worker = example("adder")?;
    let library = library("probe")?;
    let run = Run::new(["sh", "-c", "ls /dev/adder /dev/probe /dev/probes/busy"])
        .option("--worker")
        .option(&worker.to_string_lossy())
        .option("--handler")
        .option(&library.to_string_lossy());
    let outcome = run.output()?;
    outcome.assert_sound()?;
    assert_eq!(lines(&outcome), ["/dev/adder", "/dev/probe", "/dev/probes/busy"]);
    Ok(())
}

/// Both ids may come from one handler, or one from each of two.
#[test]
fn explicit_ids_that_collide_are_reported() -> Result<()> {
    const ONE: u64 = 5;
    const OTHER: u64 = ONE << 25;
    let library = library("ids")?;
    let folder = tempfile::tempdir()?;
    // A copy under another name is another library.
    let copy = folder.path().join("libcopy.so");
    std::fs::copy(&library, &copy)?;
    let named = |path: &Path, ids: String| format!("{}:{ids}", path.display());
    let alone = vec![named(&library, format!("{ONE},6,{OTHER},7"))];
    let together = vec![named(&library, format!("{ONE},6")), named(&copy, format!("7,{OTHER}"))];
    for handlers in [alone, together] {
        let getppid = libc::SYS_getppid.to_string();
        let words = ["pc:512", &getppid, &getppid].map(OsString::from);
        let run = Run::new([client("cover_calls")?.into_os_string()].into_iter().chain(words)).logged();
        let run = handlers.iter().fold(run, |run, handler| run.option("--handler").option(handler));
        let outcome = run.output()?;
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let told: Vec<_> =
            outcome.events().into_iter().filter(|event| event.name() == "ids_collide").collect();
        let [told] = &told[..] else { panic!("{handlers:?}: {told:?}") };
        let ids = ["one", "other"].map(|field| told.field(field));
        assert_eq!(ids, [ONE, OTHER].map(|id| Some(format!("{id:#x}"))), "{handlers:?}");
        assert!(told.field("pc").is_some_and(|pc| pc.starts_with("0xffffffffc")), "{told:?}");
    }
    Ok(())
}
