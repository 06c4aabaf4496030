//! What procfs shows about threads, and about this process.

use std::fmt::Display;
use std::fs;

/// `PF_EXITING` (`include/linux/sched.h`): set at the start of the exit.
const PF_EXITING: u64 = 0x4;

/// Facts from `/proc/TID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Parent's thread group.
    pub parent: u32,
    /// Whether it has begun to exit.
    pub exiting: bool,
    /// Time of its start, in clock ticks after boot.
    pub started: u64,
    /// Start of the stack; it changes with an `execve`.
    pub start_stack: u64,
    /// Its exit status, as `wait(2)` encodes it, until it is reaped.
    pub exit_code: i32,
}

/// Reads `/proc/TID/stat`; `None` if there is no such thread.
#[must_use]
pub fn stat(tid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{tid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name, in parentheses, may contain any characters.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) counts from 1; the state, which follows the name, is field 3.
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        exiting: field(9)?.parse::<u64>().ok()? & PF_EXITING != 0,
        started: field(22)?.parse().ok()?,
        start_stack: field(28)?.parse().ok()?,
        // Linux 3.5 and later.
        exit_code: field(52).and_then(|code| code.parse().ok()).unwrap_or(0),
    })
}

/// Returns the name of process `pid`, and the state of its threads: `D` if any of them waits in the kernel and cannot be
/// killed, else that of the first one. `None` if there is no such process.
#[must_use]
pub fn name_and_state(pid: u32) -> Option<(String, char)> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
    let mut states = threads(pid).into_iter().filter_map(|tid| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
        text.rsplit_once(')')?.1.trim_start().chars().next()
    });
    let first = states.next()?;
    Some((name, if first == 'D' || states.any(|state| state == 'D') { 'D' } else { first }))
}

/// Returns the threads of process `pid`.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the children of process `pid`, zombies included.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    threads(pid).into_iter().flat_map(|tid| listed(&format!("/proc/{pid}/task/{tid}/children"))).collect()
}

/// Returns the children of this thread, zombies included.
#[must_use]
pub fn children_of_this_thread() -> Vec<u32> {
    listed("/proc/thread-self/children")
}

fn listed(path: &str) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The text of `/proc/TID/status`.
struct Status(String);

impl Status {
    /// Reads it; `None` if there is no such thread.
    fn read(tid: impl Display) -> Option<Self> {
        fs::read_to_string(format!("/proc/{tid}/status")).ok().map(Status)
    }

    /// The value in the line that starts with `key`.
    fn value(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
    }

    /// A set of signals: signal 1 is bit 0.
    fn mask(&self, key: &str) -> Option<u64> {
        u64::from_str_radix(self.value(key)?, 16).ok()
    }
}

/// The signals that `tid` has pending and not blocked, as the bits of `SigPnd` in `/proc/TID/status`, and whether it
/// waits in the kernel and only a fatal signal, or none, wakes it (state D).
#[must_use]
pub fn pending_in_kernel(tid: u32) -> Option<(u64, bool)> {
    let status = Status::read(tid)?;
    let pending = (status.mask("SigPnd:")? | status.mask("ShdPnd:")?) & !status.mask("SigBlk:")?;
    Some((pending, status.value("State:")?.starts_with('D')))
}

/// Returns the kernel function that `tid` waits in; `None` if it does not wait, or this process may not know.
#[must_use]
pub fn waits_in(tid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{tid}/wchan")).ok().filter(|name| name != "0" && !name.is_empty())
}

/// Returns the thread group of `tid`; `None` if there is no such thread.
#[must_use]
pub fn thread_group(tid: u32) -> Option<u32> {
    Status::read(tid)?.value("Tgid:")?.parse().ok()
}

/// Returns the signals that the process of `tid` has handlers for, as a bit mask: signal 1 is bit 0.
#[must_use]
pub fn caught_signals(tid: u32) -> Option<u64> {
    Status::read(tid)?.mask("SigCgt:")
}

/// Returns the thread of process `parent` that created process `child`; `None` if the kernel does not show it
/// (`CONFIG_PROC_CHILDREN`), or the thread is gone.
#[must_use]
pub fn creator(parent: u32, child: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let mut threads = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    threads.find(|thread| {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{thread}/children"));
        children.is_ok_and(|list| list.split_ascii_whitespace().any(|id| id.parse() == Ok(child)))
    })
}

/// Returns the time since boot in clock ticks, as in [`Stat::started`].
#[must_use]
pub fn ticks() -> u64 {
    /// `USER_HZ` of all architectures that kcov-broker supports.
    const PER_SECOND: u64 = 100;
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| {
        now.tv_sec() as u64 * PER_SECOND + now.tv_nsec() as u64 / (1_000_000_000 / PER_SECOND)
    })
}

/// Returns mount and inode of descriptor `fd` of `tid` (Linux 5.14).
#[must_use]
pub fn descriptor_place(tid: u32, fd: i32) -> Option<(u64, u64)> {
    parse_place(&fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).ok()?)
}

fn parse_place(fdinfo: &str) -> Option<(u64, u64)> {
    // The first of each: the output of the file's own operations follows.
    let value = |key| fdinfo.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok();
    Some((value("mnt_id:")?, value("ino:")?))
}

/// Returns the system call that `tid` is in; `None` if it is in none.
#[must_use]
pub fn current_call(tid: u32) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Counts the open descriptors of this process.
#[must_use]
pub fn open_descriptors() -> usize {
    // Without the one of the directory itself.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// Returns the resident memory of this process in KiB.
#[must_use]
pub fn resident_kib() -> u64 {
    let value = |status: Status| status.value("VmRSS:")?.split_ascii_whitespace().next()?.parse().ok();
    Status::read("self").and_then(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_parentheses_and_blanks() {
        let text = "7 (a) b (9 ) 4) S 1 7 7 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 1 2 77 0";
        let stat = parse_stat(text).expect("parses");
        assert_eq!(stat, Stat { parent: 1, exiting: true, started: 5, start_stack: 77, exit_code: 0 });
        assert_eq!(parse_stat("7 (a"), None);
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[test]
    fn a_descriptor_has_the_mount_and_inode_of_statx() {
        use std::os::fd::{AsFd, AsRawFd};
        let file = fs::File::open("/proc/self/exe").expect("own program");
        let facts = crate::sys::file::file_facts(file.as_fd()).expect("statx");
        let tid = nix::unistd::gettid().as_raw() as u32;
        assert_eq!(descriptor_place(tid, file.as_raw_fd()), Some((facts.mount, facts.id.inode)));
        assert_eq!(parse_place("pos:\t0\nflags:\t02\nmnt_id:\t4\nino:\t9\nino:\t8\n"), Some((4, 9)));
        assert_eq!(parse_place("pos:\t0\nmnt_id:\t4\n"), None);
    }

    #[test]
    fn this_thread_is_not_exiting() {
        let tid = nix::unistd::gettid().as_raw() as u32;
        assert!(!stat(tid).expect("own stat").exiting);
        assert_eq!(thread_group(tid), Some(std::process::id()));
    }
}
