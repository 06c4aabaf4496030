//! Running without root.
//!
//! An ordinary user may not cover files, nor look into a process of his own that made itself non-dumpable. He may do
//! both to a process in a user namespace that he made: the kernel gives the effective uid that made a namespace every
//! capability in it and in those below it, as long as it asks from the parent (`cap_capable`, security/commoncap.c,
//! Linux 6.12). So the command alone is put into one, and broker, spawner and readers stay where they are and gain
//! nothing over anybody else. Workers get an empty namespace of their own (the worker's jail), and with it no power
//! over the command's.
//!
//! # What differs for the command
//! - It has its own uid and gid, or 0 and 0 ([`Shown::Root`]); the files of all others belong to `nobody`, and
//!   supplementary groups show as `nogroup`, since an ordinary user may map one id of each kind.
//! - Programs that are setuid or setgid run as who started them: their owner has no number in the namespace.
//! - With its own ids it has no capability once it was exec'ed. As [`Shown::Root`] it has all, over its own namespaces
//!   and its own files, and may mount there; outside it is who it was.
//! - It may signal the processes that serve it, which are of the same user. It ends by that, and nobody else does.
//! - A program that may be executed and not be read belongs to a namespace above (`would_dump`, fs/exec.c): nobody but
//!   root can look into it, so the device is out of its reach.

use crate::sandbox::trial::{self, TrialError};
use crate::sys::privilege;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;

/// What a broker that runs as root needs, by number and name (`include/uapi/linux/capability.h`).
const NEEDED: [(u32, &str); 6] = [
    (2, "CAP_DAC_READ_SEARCH"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];
/// Target of `/proc/self/ns/user` in the first namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const FIRST: &str = "user:[4026531837]";

/// By which right a run works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Root's: workers get a uid of their own.
    Root,
    /// An ordinary user's.
    Rootless,
}

/// Which ids the command of a rootless run sees as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those that it has.
    Own,
    /// 0 and 0, as `unshare --map-root-user` has it.
    Root,
}

/// Root that may not do what root does, as in a container without privileges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("root without {}: grant that, or start kcov-broker as an ordinary user", .missing.join(", "))]
pub struct PowerlessRoot {
    /// Names of the capabilities that are missing.
    pub missing: Vec<&'static str>,
}

impl Standing {
    /// That of the calling process, whose workers would run as `jail_id`.
    ///
    /// # Errors
    /// [`PowerlessRoot`] for the machine's own root only: workers would run as root.
    pub fn of_caller(jail_id: u32) -> Result<Self, PowerlessRoot> {
        let held = privilege::capabilities().map_or(0, |held| held.effective);
        let missing: Vec<_> =
            NEEDED.into_iter().filter(|(number, _)| held >> number & 1 == 0).map(|(_, name)| name).collect();
        let mapped = ["uid_map", "gid_map"]
            .iter()
            .all(|map| fs::read_to_string(format!("/proc/self/{map}")).is_ok_and(|map| maps(&map, jail_id)));
        match (missing.is_empty() && mapped, geteuid().is_root() && is_first_namespace()) {
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
    match Standing::of_caller(jail_id())? {
        Standing::Root => Ok(None),
        Standing::Rootless => {
            // Before anything is started, because the message of the command's own process would lack the way out.
            check(shown)?;
            Ok(Some(shown))
        }
    }
}

/// uid and gid for the workers of one run, with root. It is above the uids that systems assign to users and services (up to
/// 65,534) and containers (524,288 to 1,879,048,191 with systemd), and no two runs share one.
#[must_use]
pub fn jail_id() -> u32 {
    const FIRST: u32 = 0x7000_0000;
    FIRST + std::process::id()
}

fn is_first_namespace() -> bool {
    fs::read_link("/proc/self/ns/user").is_ok_and(|target| target.as_os_str() == FIRST)
}

/// Whether the text of a `uid_map` has a line for `id` (`user_namespaces(7)`).
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first.saturating_add(count)).contains(&id.into()))
    })
}

/// Why an ordinary user's command has no namespace, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("without root, the command needs a user namespace: {step}: {}: {}", Errno::from_raw(*.errno).desc(), advice(Errno::from_raw(*.errno)))]
pub struct RootlessError {
    step: String,
    errno: i32,
}

impl RootlessError {
    /// What failed, and how.
    #[must_use]
    pub fn what(&self) -> String {
        format!("{}: {}", self.step, self.errno().desc())
    }

    /// What the kernel said.
    #[must_use]
    pub fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }
}

fn step(step: &str) -> impl Fn(Errno) -> RootlessError + '_ {
    move |errno| RootlessError { step: step.to_owned(), errno: errno as i32 }
}

/// Why it is known that a rootless run cannot work, or not known whether it can.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The machine forbids it.
    #[error(transparent)]
    Forbidden(#[from] RootlessError),
    /// It could not be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// Whether the command of a rootless run can have its namespaces. Some machines let everybody make one and nobody use
/// it, so both kinds are tried, in a child. The calling process must have one thread.
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

/// Puts the calling process, which has one thread, into a user namespace of its own, where it has all capabilities
/// until it executes a program.
///
/// # Errors
/// [`RootlessError`], which says what the machine forbids.
pub fn enter(shown: Shown) -> Result<(), RootlessError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let (shown_uid, shown_gid) = match shown {
        Shown::Own => (uid, gid),
        Shown::Root => (0, 0),
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(step("unshare(CLONE_NEWUSER)"))?;
    // The price of mapping a group without privilege: else a group could be given up that files are denied to.
    write("/proc/self/setgroups", "deny").map_err(step("/proc/self/setgroups"))?;
    write("/proc/self/uid_map", &format!("{shown_uid} {uid} 1")).map_err(step("/proc/self/uid_map"))?;
    write("/proc/self/gid_map", &format!("{shown_gid} {gid} 1")).map_err(step("/proc/self/gid_map"))
}

fn write(path: &str, text: &str) -> Result<(), Errno> {
    let written =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Switches that forbid user namespaces: where, at which value, and how to set them otherwise.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("user/max_user_namespaces", "0", "allow them by `sysctl -w user.max_user_namespaces=15000`"),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "allow them to users by `sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "allow them by an AppArmor profile for kcov-broker with the rule `userns,`, or to everybody by \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
];

/// The way out, by the switches of this machine or else by what `errno` mostly means (`user_namespaces(7)`).
#[must_use]
pub fn advice(errno: Errno) -> &'static str {
    let is_set = |&&(name, value, _): &&(&str, &str, &str)| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
    };
    match (SWITCHES.iter().find(is_set), errno) {
        (Some((_, _, advice)), _) => advice,
        (None, Errno::EINVAL | Errno::ENOSYS) => {
            "this kernel has none (CONFIG_USER_NS); start kcov-broker as root"
        }
        (None, Errno::ENOSPC | Errno::EUSERS) => {
            "there are too many, or they are nested too deep; raise user.max_user_namespaces"
        }
        (None, Errno::EACCES) => "kcov-broker must be readable by its user (chmod +r), and /proc writable",
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
    fn a_map_is_read_by_its_inner_column() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert!(maps(map, 0) && maps(map, 1) && maps(map, 65_536));
        assert!(!maps(map, 65_537) && !maps(map, 100_000) && !maps("", 0) && !maps("0 0\n", 0));
        assert!(maps("0 0 4294967295", u32::MAX - 1));
    }

    #[test]
    fn an_error_names_the_step_and_a_way_out() {
        let text = step("unshare(CLONE_NEWUSER)")(Errno::ENOSPC).to_string();
        assert!(
            text.contains("unshare(CLONE_NEWUSER)") && text.contains("user.max_user_namespaces"),
            "{text}"
        );
    }
}
