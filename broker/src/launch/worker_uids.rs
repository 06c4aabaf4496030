//! uids for workers, with root: each tenant's workers have a uid that no other process of this machine has.
//!
//! A uid is claimed in two steps, and only a uid that passes both is used:
//! 1. A lock in `/run/kcov-broker.uids`, on the byte at the offset of the uid. It excludes all brokers that share `/run`,
//!    whatever their PID namespaces. It belongs to the open file, so the kernel releases it when the last
//!    process that holds the claim ends, however it ends.
//! 2. A question to the kernel, whether any process runs under the uid (`is_unused`). It sees processes of
//!    all PID and mount namespaces. So a uid is also not taken while workers of a killed broker still run.
//!
//! A broker that cannot write the registry (a read-only `/run`, a container with its own) takes the second step
//! only. The first candidate is random, so two such brokers collide only if they choose the same one of 2^24
//! uids within the milliseconds between the claim and the start of the zygote.

use kcov_sys::{fork, privilege};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Uid, setresuid};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// uids of single runs. They are above those that systems assign to users and services (up to 65,534) and to
/// containers (524,288 to 1,879,048,191 with systemd), and below the default range of services.
pub const OF_RUNS: RangeInclusive<u32> = 0x7000_0000..=0x70ff_ffff;
/// The file whose bytes are locked. Only root may open it, so nobody else can hold a lock.
const REGISTRY: &str = "/run/kcov-broker.uids";
/// Candidates that one claim examines. Each costs two forks if its byte is free.
const MAX_CANDIDATES: u32 = 65_536;

/// A uid for the workers of one tenant, until this value is dropped and no process has the uid any more.
#[derive(Debug)]
pub struct WorkerUid {
    uid: u32,
    /// Holds the lock; `None` without a registry.
    _registry: Option<File>,
}

impl WorkerUid {
    /// The uid, which is also the gid of the workers.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.uid
    }

    /// Claims a uid of `range`: `preferred` if it is free, otherwise the first free one after a random start.
    /// Returns `None` if all are in use. The process must have one thread.
    #[must_use]
    pub fn claim(range: &RangeInclusive<u32>, preferred: Option<u32>) -> Option<Self> {
        Self::claim_in(Path::new(REGISTRY), range, preferred)
    }

    fn claim_in(registry: &Path, range: &RangeInclusive<u32>, preferred: Option<u32>) -> Option<Self> {
        let registry = open(registry);
        let (first, count) = (*range.start(), range.end() - range.start() + 1);
        let start = RandomState::new().hash_one(first) as u32 % count;
        let preferred = preferred.filter(|uid| range.contains(uid));
        let others = (0..count.min(MAX_CANDIDATES)).map(|step| first + (start + step) % count);
        let uid = preferred.into_iter().chain(others).find(|uid| {
            let is_mine = registry.as_ref().is_none_or(|registry| lock(registry, *uid));
            is_mine && is_unused(*uid)
        })?;
        // Bytes of candidates that were locked but in use stay locked until the claim ends: no other broker
        // could take those uids either.
        Some(WorkerUid { uid, _registry: registry })
    }
}

/// Opens the registry, and creates it if necessary; `None` if that is impossible or another user may open it.
fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let facts = file.metadata().ok()?;
    (facts.is_file() && facts.uid() == 0 && facts.mode() & 0o077 == 0).then_some(file)
}

/// Locks the byte of `uid`. Returns whether it is locked for this open file now.
fn lock(registry: &File, uid: u32) -> bool {
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: uid.into(),
        l_len: 1,
        l_pid: 0,
    };
    fcntl(registry, FcntlArg::F_OFD_SETLK(&byte)).is_ok()
}

/// Returns whether no process of this machine runs as `uid`.
///
/// The kernel counts the processes of each uid for `RLIMIT_NPROC`, in all PID namespaces. A child takes the uid
/// and forks with a limit of two: that fails with `EAGAIN` if anybody else has the uid (`copy_process`,
/// kernel/fork.c, Linux 6.12). Returns `false` if the child cannot take the uid, or another process ends it.
fn is_unused(uid: u32) -> bool {
    let child = fork::child(|| i32::from(count_allows_two(uid).is_err()));
    child.is_ok_and(|child| matches!(wait(child), Ok(WaitStatus::Exited(_, 0))))
}

fn count_allows_two(uid: u32) -> Result<(), Errno> {
    let uid = Uid::from_raw(uid);
    setrlimit(Resource::RLIMIT_NPROC, 2, 2)?;
    setresuid(uid, uid, uid)?;
    // The limit does not apply to CAP_SYS_RESOURCE and CAP_SYS_ADMIN.
    privilege::set_capabilities(0)?;
    wait(fork::child(|| 0)?).map(drop)
}

fn wait(child: nix::unistd::Pid) -> Result<WaitStatus, Errno> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_sys::probe;
    use nix::sys::signal::{Signal, kill};
    use std::os::unix::fs::PermissionsExt;

    /// uids that nothing else takes.
    const RANGE: RangeInclusive<u32> = 0x72ab_cd00..=0x72ab_cd03;

    fn registry() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("uids");
        (directory, path)
    }

    #[test]
    fn uids_are_claimed_once_until_they_are_released() {
        let (_directory, path) = registry();
        let claim = |preferred| WorkerUid::claim_in(&path, &RANGE, preferred);
        let mut claims: Vec<_> = std::iter::from_fn(|| claim(None)).collect();
        let mut uids: Vec<_> = claims.iter().map(WorkerUid::get).collect();
        uids.sort_unstable();
        assert_eq!(uids, RANGE.collect::<Vec<_>>(), "each once");
        // Children of other tests may still hold copies of the lock.
        let claim_soon = |preferred| loop {
            if let Some(claim) = claim(Some(preferred)) {
                break claim.get();
            }
            std::thread::yield_now();
        };
        let released = claims.swap_remove(2).get();
        let other = claims[0].get();
        assert_eq!(claim_soon(other), released, "the preferred one is taken");
        drop(claims);
        assert_eq!(claim_soon(released), released);
    }

    #[test]
    fn uids_of_processes_are_in_use_also_without_a_registry() {
        let uid = 0x72ab_ce00;
        assert!(is_unused(uid));
        let process = probe::child(|| {
            let id = Uid::from_raw(uid);
            let _ = setresuid(id, id, id);
            loop {
                nix::unistd::pause();
            }
        });
        let status = format!("/proc/{process}/status");
        let has_uid = || std::fs::read_to_string(&status).is_ok_and(|text| text.contains(&uid.to_string()));
        while !has_uid() {
            std::thread::yield_now();
        }
        assert!(!is_unused(uid));
        let nowhere = Path::new("/no/such/folder/uids");
        assert!(WorkerUid::claim_in(nowhere, &(uid..=uid), Some(uid)).is_none());
        kill(process, Signal::SIGKILL).and_then(|()| wait(process)).expect("killed");
        assert!(WorkerUid::claim_in(nowhere, &(uid..=uid), None).is_some());
    }

    #[test]
    fn a_registry_that_others_may_open_or_redirect_is_not_used() {
        let (directory, path) = registry();
        assert!(open(&path).is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(open(&path).is_none());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).expect("symlink");
        assert!(open(&link).is_none() && !directory.path().join("elsewhere").exists());
    }
}
