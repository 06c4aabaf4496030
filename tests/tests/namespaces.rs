//! Tenants in their own namespaces and roots: the device is where its path leads, and an open instance works
//! everywhere.

use anyhow::{Context, Result};
use kcov_tests::{Outcome, Run, client};
use std::path::PathBuf;

const TRACED: &str = "kcov,getppid";

fn cycle() -> Result<String> {
    Ok(client("ns_cycle")?.display().to_string())
}

/// Runs a script in which `$CYCLE` is the client.
fn script(script: &str) -> Result<Outcome> {
    Run::bash(script).trace(TRACED).env("CYCLE", cycle()?).output()
}

fn assert_sound_script(text: &str) -> Result<()> {
    script(&format!("set -e\n{text}"))?.assert_sound()?;
    Ok(())
}

/// Each kind of namespace on its own.
#[test]
fn the_device_works_in_each_kind_of_namespace() -> Result<()> {
    let kinds = ["--pid --fork", "--user --map-root-user", "--mount", "--net", "--cgroup", "--uts", "--ipc"];
    let lines: Vec<String> = kinds.iter().map(|kind| format!("unshare {kind} $CYCLE here")).collect();
    assert_sound_script(&lines.join("\n"))
}

/// As containers are started by hand, nested twice.
#[test]
fn the_device_works_in_nested_containers() -> Result<()> {
    assert_sound_script(
        "unshare -Urmpf --mount-proc $CYCLE here\n\
         unshare -Urmpf --mount-proc unshare -Urmpf --mount-proc unshare -Urmpf --mount-proc $CYCLE here",
    )
}

/// What the broker mounts does not keep new user namespaces from mounting procfs and sysfs.
#[test]
fn file_systems_can_be_mounted_in_new_user_namespaces() -> Result<()> {
    let script =
        "set -e; unshare -Urmnpf sh -c 'mount -t proc proc /proc && mount -t sysfs sysfs /sys && echo ok'";
    for rootless in [false, true] {
        for options in [&[][..], &["--kallsyms"]] {
            let run = options.iter().fold(Run::bash(script).trace(TRACED), |run, option| run.option(option));
            let outcome = if rootless { run.rootless().output()? } else { run.output()? };
            assert_eq!(outcome.stdout, "ok\n", "rootless {rootless}, {options:?}: {}", outcome.stderr);
        }
    }
    Ok(())
}

/// An instance that was opened outside works inside.
#[test]
fn an_inherited_instance_works_in_new_namespaces() -> Result<()> {
    assert_sound_script("exec 7<>/sys/kernel/debug/kcov\nunshare -Urmpf --mount-proc $CYCLE fd 7")
}

/// All kinds at once, several levels deep, with a life and an inherited instance at each level.
#[test]
fn the_device_works_several_levels_deep() -> Result<()> {
    for depth in ["1", "4"] {
        Run::new([cycle()?.as_str(), "nest", depth]).trace(TRACED).output()?.assert_sound()?;
    }
    Ok(())
}

/// In a root without the path there is no device to open. An instance that was opened before, or that is
/// reached through a descriptor, works.
#[test]
fn a_root_without_the_path_has_no_device() -> Result<()> {
    let place = tempfile::tempdir()?;
    let directory = place.path().to_str().context("a path in UTF-8")?;
    Run::new([cycle()?.as_str(), "chroot", directory]).trace(TRACED).output()?.assert_sound()?;
    Ok(())
}

/// A root into which the device's directory is bind-mounted has the device.
#[test]
fn a_root_with_the_bind_mounted_directory_has_the_device() -> Result<()> {
    let place = tempfile::tempdir()?;
    let root = place.path().display();
    let client = PathBuf::from(cycle()?);
    let name = client.file_name().context("a file name")?.to_string_lossy();
    assert_sound_script(&format!(
        "mkdir -p {root}/sys/kernel/debug && cp $CYCLE {root}/\n\
         mount --bind /sys/kernel/debug {root}/sys/kernel/debug\n\
         chroot {root} /{name} here\n\
         umount {root}/sys/kernel/debug"
    ))
}

/// A mount over the placeholder hides the device, only in its own mount namespace.
#[test]
fn a_mount_over_the_device_hides_it_in_that_namespace_only() -> Result<()> {
    let outcome = script(
        "unshare --mount bash -c 'mount -t tmpfs none /sys/kernel/debug && cat /sys/kernel/debug/kcov'\n\
         $CYCLE here && echo works outside",
    )?;
    assert!(outcome.stderr.contains("No such file or directory"), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("works outside"), "{}", outcome.stdout);
    outcome.assert_sound()?;
    Ok(())
}
