//! The live view: it shows the true state of running brokers, and other files in its directory do no harm.

use anyhow::Result;
use kcov_tests::live::{CALLS, Client, Planted, Status, Tenant, gone, path, shown};
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Running, Session};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A uid that no system assigns.
const STRANGER: u32 = 61_235;

fn signal(process: Process, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), signal)?)
}

/// The only process of the run with this name.
fn only_process(running: &Running, name: &str) -> Process {
    running.session.named(name)[0]
}

/// `status` shows the same figures during a run as its report at the end, and counts each call under its
/// kind.
#[test]
fn status_of_a_running_tenant_agrees_with_its_report() -> Result<()> {
    let client = Client::start(&["--name", "live-1"])?;
    let tenant = client.tenant_after_calls()?;
    assert_eq!((tenant.name.as_str(), tenant.state.as_str(), tenant.uid), ("live-1", "live", 0));
    assert_eq!(Process(tenant.pid).name().as_deref(), Some("kcov-broker"));
    assert_eq!(Process(tenant.pids.front), client.running.front());
    assert_eq!(Process(tenant.pids.zygote).name().as_deref(), Some("kcov-zygote"));
    assert_eq!(tenant.pids.workers, [only_process(&client.running, "kcov-worker").0]);
    assert_eq!((tenant.instances, tenant.instances_opened, tenant.arena_bytes), (1, 1, 4096));
    assert!(tenant.records > 0 && tenant.records_lost > 0, "{tenant:?}");
    let segment = tenant.segment.clone();

    let report = client.outcome()?.assert_sound()?.clone();
    let kinds = [
        ("exec", 1),
        ("handler", 0),
        ("handler_open", 0),
        ("ioctl", 3),
        ("mmap", 2),
        ("open", 0),
        ("trace", CALLS),
    ];
    let kinds: BTreeMap<_, _> = kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
    assert_eq!(tenant.notifications_by_kind, kinds);
    assert_eq!(report.notifications_by_kind, kinds);
    assert_eq!(tenant.notifications, kinds.values().sum::<u64>());
    // The first 32 calls are all timed, and one of 32 afterwards.
    assert_eq!(tenant.timed(), 32 + tenant.notifications / 32 - 1);
    assert_eq!(tenant.latency, report.latency);
    let of_tenant =
        (tenant.notifications, tenant.records, tenant.records_lost, tenant.assists, tenant.workers_started);
    let of_report =
        (report.notifications, report.records, report.records_lost, report.assists, report.workers_started);
    assert_eq!(of_tenant, of_report);
    gone(&segment)
}

/// Quota refusals and killed workers are counted while the run goes on.
#[test]
fn refusals_and_crashes_are_shown() -> Result<()> {
    let client = Client::start(&["--name", "live-2"])?;
    client.tenant_after_calls()?;
    signal(only_process(&client.running, "kcov-worker"), Signal::SIGKILL)?;
    let tenant = shown(&client.running.session, |tenant| {
        tenant.worker_crashes == 1 && !tenant.pids.workers.is_empty()
    })?;
    assert_eq!((tenant.workers_started, tenant.notifications_by_kind["trace"]), (2, CALLS));
    client.outcome()?;

    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let words = [kcov_tests::client("live_counts")?.into_os_string(), control.path().into()];
    let running = Run::new(words).option("--max-area").option("256").start_in(session)?;
    let refused = running.finish()?;
    let report = refused.report()?;
    assert_eq!((report.quota_refusals, report.quota_refusals_by_quota["area"]), (1, 1), "{}", refused.stderr);
    Ok(())
}

/// When a broker is killed, its spawner removes its segment. If both are killed the segment stays, `status`
/// recognises that its broker is dead, and the next run removes it.
#[test]
fn segments_of_dead_brokers_are_recognised_and_removed() -> Result<()> {
    let client = Client::start(&["--name", "live-3"])?;
    let Tenant { segment, pid, .. } = client.tenant_after_calls()?;
    signal(Process(pid), Signal::SIGKILL)?;
    gone(&segment)?;
    drop(client);

    let client = Client::start(&["--name", "live-4"])?;
    let tenant = client.tenant_after_calls()?;
    // Owned by another user, so that no run of root removes it in between.
    let kept = Planted::name(STRANGER, "kept");
    fs::copy(path(&tenant.segment), kept.path())?;
    chown(kept.path(), Some(STRANGER), Some(STRANGER))?;
    assert_eq!(
        Status::now(&client.running.session)?.of(&kept.segment).map(|tenant| tenant.state.clone()),
        Some("live".into())
    );
    let helpers = client.running.session.named("kcov-spawner");
    assert!(!helpers.is_empty());
    for helper in helpers {
        signal(helper, Signal::SIGSTOP)?;
    }
    signal(Process(tenant.pid), Signal::SIGKILL)?;
    client.running.session.kill();
    drop(client);

    let session = Session::new()?;
    let status = Status::now(&session)?;
    let dead = status.of(&kept.segment).expect("the copy is shown");
    assert_eq!((dead.state.as_str(), dead.uid, dead.notifications), ("dead", STRANGER, tenant.notifications));
    // A run of root, or this one, removes the original.
    Run::new(["true"]).output()?.assert_sound()?;
    gone(&tenant.segment)?;
    assert!(kept.path().exists(), "a run removes only the segments of its own user");
    let swept =
        Command::new(session.path("kcov-broker")).args(["status", "--sweep"]).uid(STRANGER).output()?;
    assert!(swept.status.success(), "{swept:?}");
    gone(&kept.segment)
}

/// A segment of an earlier boot belongs to a dead broker, even if another process has its pid now.
#[test]
fn a_segment_of_another_boot_is_dead() -> Result<()> {
    let client = Client::start(&["--name", "live-5"])?;
    let tenant = client.tenant_after_calls()?;
    let old = Planted::name(STRANGER, "boot");
    fs::copy(path(&tenant.segment), old.path())?;
    // The first words of the body; see `kcov_proto::view`.
    OpenOptions::new().write(true).open(old.path())?.write_all_at(&[0xff; 16], 8 * 8)?;
    chown(old.path(), Some(STRANGER), Some(STRANGER))?;
    let status = Status::now(&client.running.session)?;
    assert_eq!(status.of(&old.segment).map(|tenant| tenant.state.as_str()), Some("dead"));
    assert_eq!(status.of(&tenant.segment).map(|tenant| tenant.state.as_str()), Some("live"));
    client.finish()
}

/// A file that is named like a segment but is not one is refused with the reason, without blocking.
#[test]
fn files_that_are_not_segments_are_refused() -> Result<()> {
    let client = Client::start(&["--name", "live-6"])?;
    let original = path(&client.tenant_after_calls()?.segment);
    let plant = |what: &str, make: &dyn Fn(&Planted) -> Result<()>| -> Result<Planted> {
        let planted = Planted::name(0, what);
        make(&planted)?;
        Ok(planted)
    };
    let write = |bytes: &[u8], at: u64| {
        let (bytes, original) = (bytes.to_vec(), original.clone());
        move |planted: &Planted| -> Result<()> {
            fs::copy(&original, planted.path())?;
            Ok(OpenOptions::new().write(true).open(planted.path())?.write_all_at(&bytes, at)?)
        }
    };
    let planted = [
        ("symbolic link", plant("link", &|it| Ok(symlink(&original, it.path())?))?),
        ("regular file", plant("fifo", &|it| Ok(mkfifo(&it.path(), Mode::S_IRUSR)?))?),
        ("regular file", plant("directory", &|it| Ok(fs::create_dir(it.path())?))?),
        ("size", plant("short", &|it| Ok(fs::write(it.path(), [1; 100])?))?),
        ("size", plant("long", &|it| Ok(File::create(it.path())?.set_len(1 << 40)?))?),
        ("not a segment", plant("garbage", &|it| Ok(fs::write(it.path(), [0xa5; 4096])?))?),
        ("layout 99", plant("version", &write(&99_u64.to_le_bytes(), 8))?),
        ("keeps changing", plant("torn", &write(&1_u64.to_le_bytes(), 16))?),
        ("name", plant("name", &write(b"\x1b[2J\xff", (8 + 5) * 8))?),
        (
            "writable by group or others",
            plant("open", &|it| {
                fs::copy(&original, it.path())?;
                Ok(fs::set_permissions(it.path(), Permissions::from_mode(0o666))?)
            })?,
        ),
        (
            "its owner is not the user",
            plant("owner", &|it| {
                fs::copy(&original, it.path())?;
                Ok(chown(it.path(), Some(STRANGER), None)?)
            })?,
        ),
    ];
    let status = Status::now(&client.running.session)?;
    for (reason, planted) in &planted {
        let said = status.refusal(&planted.segment);
        assert!(said.is_some_and(|said| said.contains(reason)), "{planted:?} {reason:?}: {said:?}");
        assert!(status.of(&planted.segment).is_none());
    }
    client.finish()
}

/// A file that is truncated while it is read does not end the reading process.
#[test]
fn a_segment_that_shrinks_does_not_end_its_reader() -> Result<()> {
    let client = Client::start(&["--name", "live-7"])?;
    let planted = Planted::name(0, "shrinks");
    fs::copy(path(&client.tenant_after_calls()?.segment), planted.path())?;
    let whole = fs::read(planted.path())?;
    let file = OpenOptions::new().write(true).open(planted.path())?;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // If the file is gone, the test fails elsewhere.
                let _ = file.set_len(0);
                let _ = file.write_all_at(&whole, 0);
            }
        });
        let looks = (0..50).try_for_each(|_| Status::now(&client.running.session).map(drop));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        looks
    })?;
    client.finish()
}

/// Every user may read a segment unless the run forbids it. No other user may write to it.
#[test]
fn segments_can_be_read_by_all_and_written_by_none() -> Result<()> {
    let by_stranger = |session: &Session| {
        let mut command = Command::new(session.path("kcov-broker"));
        command.uid(STRANGER).gid(STRANGER);
        Status::by(command)
    };
    let mode = |tenant: &Tenant| {
        fs::metadata(path(&tenant.segment)).map(|facts| facts.permissions().mode() & 0o7777)
    };

    let client = Client::start(&["--name", "live-8"])?;
    let tenant = client.tenant_after_calls()?;
    assert_eq!(mode(&tenant)?, 0o644);
    let seen = by_stranger(&client.running.session)?;
    assert_eq!(seen.of(&tenant.segment).map(|seen| seen.notifications), Some(tenant.notifications));
    for attempt in [
        ": >>\"$0\"",
        ": >\"$0\"",
        "truncate -s 0 \"$0\"",
        "rm -f \"$0\" && ! test -e \"$0\"",
        "chmod 666 \"$0\"",
    ] {
        let tried =
            Command::new("sh").args(["-c", attempt]).arg(path(&tenant.segment)).uid(STRANGER).output()?;
        assert!(!tried.status.success(), "{attempt}: {tried:?}");
    }
    client.finish()?;

    let client = Client::start(&["--name", "live-9", "--publish", "own"])?;
    let tenant = client.tenant_after_calls()?;
    assert_eq!(mode(&tenant)?, 0o600);
    assert!(by_stranger(&client.running.session)?.of(&tenant.segment).is_none());
    client.finish()
}

/// A run that is hidden from the live view has no segment and times no calls.
#[test]
fn a_hidden_run_has_no_segment() -> Result<()> {
    let client = Client::start(&["--publish", "none"])?;
    let shown = Status::now(&client.running.session)?.tenants;
    assert!(shown.iter().all(|tenant| Process(tenant.pids.front) != client.running.front()), "{shown:?}");
    let outcome = client.outcome()?;
    let report = outcome.assert_sound()?;
    assert_eq!((report.latency.len(), report.notifications_by_kind["trace"]), (0, CALLS));
    Ok(())
}
