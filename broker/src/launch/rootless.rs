//! Running without root.
//!
//! An ordinary user may not mount over files, nor inspect a process that made itself non-dumpable. Both are
//! permitted for a process in a user namespace that the user made: the kernel gives the effective uid that
//! made a namespace all capabilities in it and in its descendants, for callers in the parent namespace
//! (`cap_capable`, security/commoncap.c, Linux 6.12). So only the command is moved to a new namespace.
//! Broker, spawner and readers stay in theirs, and gain no power over other processes. Workers get an empty
//! namespace of their own (the worker's jail), which gives them no power over that of the command.
//!
//! # What differs for the command
//! - It has its own uid and gid, or 0 and 0 ([`Shown::Root`]). Files of other users belong to `nobody`, and
//!   supplementary groups show as `nogroup`, because an ordinary user may map only one uid and one gid.
//! - Setuid and setgid programs run as the calling user, because their owner has no id in the namespace.
//! - With its own ids the command has no capabilities after `execve`. As [`Shown::Root`] it has all of them
//!   over its own namespaces and files, and may mount there; outside it is still the same user.
//! - It may signal the processes that serve it, because they run as the same user. This ends only the command
//!   itself.
//! - A program that may be executed but not read belongs to the parent namespace (`would_dump`, fs/exec.c):
//!   only root can inspect it, so it cannot use the device.

use crate::launch::trial::{self, TrialError};
use crate::launch::worker_uids;
use crate::sys::privilege;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;

/// Capabilities that a broker needs to run as root, by number and name (`include/uapi/linux/capability.h`).
const NEEDED: [(u32, &str); 6] = [
    (2, "CAP_DAC_READ_SEARCH"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];
/// Target of `/proc/self/ns/user` in the initial namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const INITIAL: &str = "user:[4026531837]";

/// The privileges of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Root's. Workers get their own uid.
    Root,
    /// An ordinary user's.
    Rootless,
}

/// Which ids the command of a rootless run sees as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its real ones.
    Own,
    /// 0 and 0, as with `unshare --map-root-user`.
    Root,
}

/// The caller is root but lacks capabilities, as in an unprivileged container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("root without {}: grant the capabilities, or start kcov-broker as an ordinary user", .missing.join(", "))]
pub struct PowerlessRoot {
    /// Names of the missing capabilities.
    pub missing: Vec<&'static str>,
}

impl Standing {
    /// The privileges of the calling process for a single run.
    ///
    /// # Errors
    /// As [`Standing::of_caller`].
    pub fn of_run() -> Result<Self, PowerlessRoot> {
        Self::of_caller(*worker_uids::OF_RUNS.end())
    }

    /// The privileges of the calling process, whose workers would run as `jail_id`.
    ///
    /// # Errors
    /// [`PowerlessRoot`] for root of the initial namespace: as an ordinary user's, its workers would run as
    /// root.
    pub fn of_caller(jail_id: u32) -> Result<Self, PowerlessRoot> {
        let held = privilege::capabilities().map_or(0, |held| held.effective);
        let missing: Vec<_> =
            NEEDED.into_iter().filter(|(number, _)| held >> number & 1 == 0).map(|(_, name)| name).collect();
        let mapped = ["uid_map", "gid_map"]
            .iter()
            .all(|map| fs::read_to_string(format!("/proc/self/{map}")).is_ok_and(|map| maps(&map, jail_id)));
        match (missing.is_empty() && mapped, geteuid().is_root() && is_initial_namespace()) {
            (true, _) => Ok(Standing::Root),
            (false, false) => Ok(Standing::Rootless),
            (false, true) => Err(PowerlessRoot { missing }),
        }
    }
}

/// How the command of a run without root sees its ids; `None` with root.
///
/// # Errors
/// If the machine does not permit a run by this user.
pub fn plan(map_root: bool) -> anyhow::Result<Option<Shown>> {
    let shown = if map_root { Shown::Root } else { Shown::Own };
    match Standing::of_run()? {
        Standing::Root => Ok(None),
        Standing::Rootless => {
            // Before anything is started, because the message of the command's own process would lack the way
            // out.
            check(shown)?;
            Ok(Some(shown))
        }
    }
}

fn is_initial_namespace() -> bool {
    fs::read_link("/proc/self/ns/user").is_ok_and(|target| target.as_os_str() == INITIAL)
}

/// Whether a `uid_map` contains `id` (`user_namespaces(7)`).
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first.saturating_add(count)).contains(&id.into()))
    })
}

/// Why the command of an ordinary user cannot have a user namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("without root, the command needs a user namespace: {step}: {}: {}", Errno::from_raw(*.errno).desc(), advice(Errno::from_raw(*.errno)))]
pub struct RootlessError {
    step: String,
    errno: i32,
}

impl RootlessError {
    /// The step that failed, and its error.
    #[must_use]
    pub fn what(&self) -> String {
        format!("{}: {}", self.step, self.errno().desc())
    }

    /// The error of the kernel.
    #[must_use]
    pub fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }
}

fn step(step: &str) -> impl Fn(Errno) -> RootlessError + '_ {
    move |errno| RootlessError { step: step.to_owned(), errno: errno as i32 }
}

/// Why a run without root cannot work, or why this is not known.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The machine forbids it.
    #[error(transparent)]
    Forbidden(#[from] RootlessError),
    /// The attempt itself failed.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// Checks in a child process that the command of a run without root can have its namespaces. Some machines
/// permit to make a user namespace but not to use it, so the child also makes a mount namespace in it. The
/// calling process must have one thread.
///
/// # Errors
/// [`CheckError`].
pub fn check(shown: Shown) -> Result<(), CheckError> {
    let tried = trial::in_child(|| {
        enter(shown)?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(step("unshare(CLONE_NEWNS)"))
    })?;
    Ok(tried?)
}

/// Moves the calling process, which must have one thread, to a new user namespace, where it has all
/// capabilities until it executes a program.
///
/// # Errors
/// [`RootlessError`].
pub fn enter(shown: Shown) -> Result<(), RootlessError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let (shown_uid, shown_gid) = match shown {
        Shown::Own => (uid, gid),
        Shown::Root => (0, 0),
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(step("unshare(CLONE_NEWUSER)"))?;
    // The kernel requires this to map a group without privileges. Otherwise a process could drop a group to
    // which a file denies access.
    write("/proc/self/setgroups", "deny").map_err(step("/proc/self/setgroups"))?;
    write("/proc/self/uid_map", &format!("{shown_uid} {uid} 1")).map_err(step("/proc/self/uid_map"))?;
    write("/proc/self/gid_map", &format!("{shown_gid} {gid} 1")).map_err(step("/proc/self/gid_map"))
}

fn write(path: &str, text: &str) -> Result<(), Errno> {
    let written =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Sysctls that forbid user namespaces: name, value, and how to change it.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("user/max_user_namespaces", "0", "allow them with `sysctl -w user.max_user_namespaces=15000`"),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "allow them for users with `sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "allow them with an AppArmor profile for kcov-broker that has the rule `userns,`, or for everybody with \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
];

/// What to do, by the sysctls of this machine, or else by the usual meaning of `errno`
/// (`user_namespaces(7)`).
#[must_use]
pub fn advice(errno: Errno) -> &'static str {
    let is_set = |&&(name, value, _): &&(&str, &str, &str)| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
    };
    match (SWITCHES.iter().find(is_set), errno) {
        (Some((_, _, advice)), _) => advice,
        (None, Errno::EINVAL | Errno::ENOSYS) => {
            "this kernel does not support them (CONFIG_USER_NS); start kcov-broker as root"
        }
        (None, Errno::ENOSPC | Errno::EUSERS) => {
            "there are too many of them, or they are nested too deeply; raise user.max_user_namespaces"
        }
        (None, Errno::EACCES) => {
            "kcov-broker must be readable by its user (chmod +r), and /proc must be writable"
        }
        (None, _) => {
            "a chroot, a container or a security module forbids it; leave the chroot, start the container with \
             `--security-opt seccomp=unconfined`, or start kcov-broker as root"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_map_are_in_its_first_column() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert!(maps(map, 0) && maps(map, 1) && maps(map, 65_536));
        assert!(!maps(map, 65_537) && !maps(map, 100_000) && !maps("", 0) && !maps("0 0\n", 0));
        assert!(maps("0 0 4294967295", u32::MAX - 1));
    }

    #[test]
    fn an_error_names_the_step_and_the_sysctl() {
        let text = step("unshare(CLONE_NEWUSER)")(Errno::ENOSPC).to_string();
        assert!(
            text.contains("unshare(CLONE_NEWUSER)") && text.contains("user.max_user_namespaces"),
            "{text}"
        );
    }
}
