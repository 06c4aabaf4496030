//! The privileges of each process of a run, as `/proc` shows them.

use anyhow::{Context, Result};
use kcov_tests::client::library_with;
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Running, Session, client, until};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
/// Bound on the descriptors of a jailed process: its sockets, the listener, shared memory, the areas in use,
/// three streams.
const DESCRIPTORS: usize = 12;
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// A run whose command has enabled an instance, so that every process exists and has done its work.
fn start() -> Result<(Running, Control)> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let words = [client("hold")?, control.path().to_path_buf()];
    let mut running = Run::new(words).trace("kcov").start_in(session)?;
    running.reach(&control, READY, 1)?;
    Ok((running, control))
}

fn end(running: Running, control: &Control) -> Result<()> {
    control.set(GO, 1)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

fn status(process: Process) -> Result<HashMap<String, String>> {
    process.status().with_context(|| format!("{process:?} is gone"))
}

fn jailed(running: &Running, name: &str) -> Result<Process> {
    until(&format!("a process {name}"), WITHIN, || running.session.named(name).first().copied())
}

/// Returns whether `uids` (real, effective, saved, file system) are all the same and not root.
fn is_one_ordinary_user(uids: &str) -> bool {
    let ids: Vec<_> = uids.split_whitespace().collect();
    ids.len() == 4 && ids[0] != "0" && ids.iter().all(|id| *id == ids[0])
}

#[track_caller]
fn assert_jailed(process: Process, name: &str) -> Result<()> {
    let status = status(process)?;
    let field = |field: &str| status.get(field).map_or("", String::as_str);
    assert!(is_one_ordinary_user(field("Uid")), "{name}: Uid {}", field("Uid"));
    assert!(is_one_ordinary_user(field("Gid")), "{name}: Gid {}", field("Gid"));
    assert_eq!(field("Groups"), "", "{name}: supplementary groups");
    for set in CAPABILITIES {
        assert_eq!(u64::from_str_radix(field(set), 16)?, 0, "{name}: {set}");
    }
    assert_eq!(field("NoNewPrivs"), "1", "{name}: NoNewPrivs");
    assert_eq!(field("Seccomp"), "2", "{name}: Seccomp");
    assert_eq!(process.proc_owner(), Some(0), "{name} is dumpable: its files in /proc are its user's");
    Ok(())
}

/// It is in its tenant's own namespaces, except for the PID namespace, and its only mount is an empty
/// directory.
#[track_caller]
fn assert_apart(process: Process, name: &str) -> Result<()> {
    let namespace = |process: Process, kind: &str| -> Result<std::path::PathBuf> {
        Ok(std::fs::read_link(format!("/proc/{}/ns/{kind}", process.0))?)
    };
    let own = Process(std::process::id().cast_signed());
    for kind in ["mnt", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(namespace(process, kind)?, namespace(own, kind)?, "{name}: {kind}");
    }
    // A notification read from a PID namespace below the caller's has pid 0.
    assert_eq!(namespace(process, "pid")?, namespace(own, "pid")?, "{name}");
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", process.0))?;
    assert_eq!(mounts.lines().count(), 1, "{name}: {mounts}");
    assert!(mounts.contains(" / / ro,nosuid,nodev,noexec"), "{name}: {mounts}");
    for place in ["root", "cwd"] {
        let entries = std::fs::read_dir(format!("/proc/{}/{place}/", process.0))?;
        assert_eq!(entries.count(), 0, "{name}: {place}");
    }
    Ok(())
}

/// Private memory of a process in kilobytes, without what it shares with others.
fn private(process: Process) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.0))?;
    let fields = text.lines().filter(|line| line.starts_with("Private_"));
    Ok(fields.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

#[track_caller]
fn assert_bounded(process: Process, name: &str) -> Result<()> {
    let limits = process.limits().with_context(|| format!("{name} is gone"))?;
    let limit = |limit: &str| limits.get(limit).and_then(|value| value.parse::<u64>().ok());
    assert_eq!(limit("Max core file size"), Some(0), "{name}");
    // The most that a handler may put into a memfd for its caller.
    assert_eq!(limit("Max file size"), Some(64 << 20), "{name}");
    assert!(limit("Max open files").is_some_and(|files| files <= 1024), "{name}: {limits:?}");
    assert!(limit("Max processes").is_some(), "{name}: {limits:?}");
    Ok(())
}

#[track_caller]
fn assert_only_needed_descriptors(process: Process, name: &str) -> Result<()> {
    let descriptors = process.descriptors().with_context(|| format!("{name} is gone"))?;
    assert!(descriptors.len() <= DESCRIPTORS, "{name}: {descriptors:?}");
    for target in &descriptors {
        let text = target.to_string_lossy();
        let has_no_path =
            ["socket:", "pipe:", "anon_inode:", "/memfd:"].iter().any(|kind| text.starts_with(kind));
        assert!(has_no_path || target == Path::new("/dev/null"), "{name} holds {text}");
    }
    Ok(())
}

/// A worker runs as an ordinary user without any privilege.
#[test]
fn a_worker_has_no_privilege() -> Result<()> {
    let (running, control) = start()?;
    let worker = jailed(&running, "kcov-worker")?;
    assert_jailed(worker, "worker")?;
    assert_apart(worker, "worker")?;
    assert_bounded(worker, "worker")?;
    assert_only_needed_descriptors(worker, "worker")?;
    end(running, &control)
}

/// A zygote, which forks the workers, has no more privilege than they have.
#[test]
fn a_zygote_has_no_privilege() -> Result<()> {
    let (running, control) = start()?;
    let zygote = jailed(&running, "kcov-zygote")?;
    assert_jailed(zygote, "zygote")?;
    assert_apart(zygote, "zygote")?;
    assert_bounded(zygote, "zygote")?;
    assert_only_needed_descriptors(zygote, "zygote")?;
    end(running, &control)
}

/// An idle tenant is small: zygote and worker together have at most 3 MiB of private memory.
#[test]
fn an_idle_tenant_is_small() -> Result<()> {
    const MOST: u64 = 3 * 1024;
    let (running, control) = start()?;
    let sizes = [private(jailed(&running, "kcov-zygote")?)?, private(jailed(&running, "kcov-worker")?)?];
    assert!(sizes.iter().all(|size| *size > 0) && sizes.iter().sum::<u64>() <= MOST, "{sizes:?} kB");
    end(running, &control)
}

/// The memory of a worker is bounded, unless it has a sanitizer: the shadow memory is larger than any bound.
#[test]
fn worker_memory_is_bounded_without_a_sanitizer() -> Result<()> {
    let include = format!("-I{}", kcov_tests::binaries::workspace().join("worker/include").display());
    for (variant, flag, bound) in
        [("_plain", "-O1", "67108864"), ("_asan", "-fsanitize=address", "unlimited")]
    {
        let flags = ["-shared", "-fPIC", "-pthread", flag, &include];
        let handler = library_with("probe", variant, flags.map(OsString::from))?;
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        let run = Run::new([client("hold")?, control.path().to_path_buf()]);
        let run = run.option("--worker-memory").option("64M").option("--handler");
        let mut running = run.option(&handler.to_string_lossy()).start_in(session)?;
        running.reach(&control, READY, 1)?;
        for name in ["kcov-zygote", "kcov-worker"] {
            let limits = jailed(&running, name)?.limits().with_context(|| format!("{name} is gone"))?;
            assert_eq!(limits.get("Max data size").map(String::as_str), Some(bound), "{name}{variant}");
        }
        end(running, &control)?;
    }
    Ok(())
}

/// Workers of two runs have different uids: neither can signal or trace the other.
#[test]
fn workers_of_two_runs_are_different_users() -> Result<()> {
    let (one, other) = (start()?, start()?);
    let user = |running: &Running| -> Result<String> {
        let worker = jailed(running, "kcov-worker")?;
        status(worker)?.remove("Uid").context("Uid")
    };
    assert_ne!(user(&one.0)?, user(&other.0)?);
    end(one.0, &one.1)?;
    end(other.0, &other.1)
}

/// The command has one filter and none of the broker's descriptors, so no listener.
#[test]
fn the_command_holds_no_listener() -> Result<()> {
    let (running, control) = start()?;
    let program = client("hold")?;
    let processes = running.session.processes();
    let command = processes.into_iter().find(|process| process.executable().as_ref() == Some(&program));
    let command = command.context("the command is not to be found")?;
    let status = status(command)?;
    assert_eq!(status.get("Seccomp").map(String::as_str), Some("2"));
    assert_eq!(status.get("Seccomp_filters").map(String::as_str), Some("1"));
    let descriptors = command.descriptors().context("the command is gone")?;
    // What every command inherits here, and its device.
    let bare = Run::new(["sleep", "1000"]).bare().start()?;
    let inherits = || bare.front().executable().is_some_and(|path| path.ends_with("sleep"));
    until("a bare command", WITHIN, || inherits().then_some(()))?;
    // Close-on-exec descriptors are closed a moment after the new program becomes visible.
    let inherited = || Some(bare.front().descriptors()?.len());
    let one_more = || inherited().filter(|&count| count + 1 == descriptors.len());
    until("as many descriptors, and one", WITHIN, one_more)?;
    assert!(
        descriptors.iter().all(|target| !target.to_string_lossy().contains("seccomp")),
        "{descriptors:?}"
    );
    end(running, &control)
}

/// After the start, no serving process has all of root's capabilities.
#[test]
fn the_broker_has_reduced_capabilities() -> Result<()> {
    let (running, control) = start()?;
    let effective =
        |process: Process| -> Option<u64> { u64::from_str_radix(process.status()?.get("CapEff")?, 16).ok() };
    let listener = |process: &Process| {
        let descriptors = process.descriptors().unwrap_or_default();
        descriptors.iter().any(|target| target.to_string_lossy().contains("seccomp notify"))
    };
    let all = effective(Process(1)).context("capabilities of the first process")?;
    let holders: Vec<_> = running.session.own_processes().into_iter().filter(listener).collect();
    assert!(!holders.is_empty(), "no process holds the listener");
    for holder in holders {
        let capabilities = effective(holder).context("a holder of the listener is gone")?;
        assert!(capabilities != all && capabilities.count_ones() < 10, "{holder:?} has {capabilities:#x}");
    }
    end(running, &control)
}
