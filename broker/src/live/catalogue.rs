//! Finds the segments of this machine, copies them and decides whether their brokers are alive.
//!
//! Any user can create any number of files of any kind in `/dev/shm`. A segment must be a regular file of the right
//! size, owned by the user in its name and writable by nobody else. Opening it never blocks, symbolic links are not
//! followed, nothing is mapped, and at most [`MOST`] files are examined.

use super::identity;
use super::tenant_view::{State, TenantView};
use crate::launch::publication::PREFIX;
use crate::sys::{procfs, segment};
use kcov_proto::view::seqlock::Source;
use kcov_proto::view::{self, BYTES, Identity, ReadError, View};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Directory of POSIX shared memory (`shm_overview(7)`).
pub const DIRECTORY: &str = "/dev/shm";
/// Maximum number of files that are examined.
pub const MOST: usize = 16_384;
/// A broker writes at least ten times a second. After this time without a write it is stopped or starved of CPU time.
const SILENCE: Duration = Duration::from_secs(3);
/// For this time metrics show that a broker of this PID namespace died; then they remove its segment.
const SHOWN_DEAD: Duration = Duration::from_secs(300);
/// A broker fills its segment right after creating it. After this time an empty segment counts as abandoned.
const FILLED_WITHIN: Duration = Duration::from_secs(60);

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// All tenants with a complete segment, including those of dead brokers.
    pub tenants: Vec<TenantView>,
    /// Segments of dead brokers, including incomplete ones.
    pub dead: Vec<Dead>,
    /// Files that are named like segments but are not valid, with the reason.
    pub refused: Vec<(String, String)>,
    /// Number of segments that this user may not read.
    pub private: usize,
    /// Whether there were more than [`MOST`] files.
    pub truncated: bool,
}

/// A segment left behind by a dead broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Name of the file.
    pub segment: String,
    /// Its owner.
    pub uid: u32,
    /// Whether it died so recently that monitoring should still show that.
    pub is_recent: bool,
}

/// The state of this system, which segments are compared with.
struct Here {
    boot: u128,
    pid_namespace: u64,
    now: u64,
}

/// Examines all segments.
///
/// # Errors
/// If [`DIRECTORY`] cannot be read.
pub fn scan() -> io::Result<Catalogue> {
    let here =
        Here { boot: identity::boot(), pid_namespace: identity::pid_namespace(), now: identity::now() };
    let mut found = Catalogue::default();
    let names = fs::read_dir(DIRECTORY)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for (number, segment) in names.filter(|name| name.starts_with(PREFIX)).enumerate() {
        if number >= MOST {
            found.truncated = true;
            break;
        }
        match look(&segment, &here) {
            Ok(tenant) => {
                if tenant.state == State::Dead {
                    let is_recent = tenant.is_here && tenant.age_seconds < SHOWN_DEAD.as_secs_f64();
                    found.dead.push(Dead { segment: tenant.segment.clone(), uid: tenant.uid, is_recent });
                }
                found.tenants.push(tenant);
            }
            Err(Fault::Gone) => {}
            Err(Fault::Private) => found.private += 1,
            Err(Fault::Dead(uid)) => found.dead.push(Dead { segment, uid, is_recent: false }),
            Err(Fault::Refused(reason)) => found.refused.push((segment, reason)),
        }
    }
    found.tenants.sort_by(|a, b| (&a.name, a.started).cmp(&(&b.name, b.started)));
    Ok(found)
}

/// Removes the segments of dead brokers of this user and, for root with `all_users`, of every user. Returns how many
/// were removed.
pub fn sweep(all_users: bool) -> usize {
    let Ok(found) = scan() else { return 0 };
    remove(found.dead.iter(), all_users)
}

/// Removes these segments, as [`sweep`] does. Returns how many were removed.
pub fn remove<'a>(dead: impl Iterator<Item = &'a Dead>, all_users: bool) -> usize {
    let own = geteuid();
    let may = |uid: u32| own.as_raw() == uid || all_users && own.is_root();
    dead.filter(|dead| may(dead.uid) && segment::remove(&dead.segment).is_ok()).count()
}

/// Why a file yields no tenant.
enum Fault {
    /// It was removed meanwhile, or is not filled yet.
    Gone,
    /// No read permission.
    Private,
    /// The broker, of this user, died before the segment was complete.
    Dead(u32),
    /// Not a valid segment, and why.
    Refused(String),
}

fn refused(reason: impl ToString) -> Fault {
    Fault::Refused(reason.to_string())
}

fn look(segment: &str, here: &Here) -> Result<TenantView, Fault> {
    let uid = owner(segment).ok_or_else(|| refused("its name has no user id"))?;
    let mut file = Copied(open_plain(segment, uid)?);
    match view::read(&mut file) {
        Ok(view) => {
            let (state, is_here) = (here.state(&view, file.0.as_fd()), here.is_of(&view.identity));
            Ok(TenantView { is_here, ..TenantView::new(segment, uid, state, here.now, view) })
        }
        Err(ReadError::Source(_)) => Err(Fault::Gone),
        Err(ReadError::Empty) if file.is_young() => Err(Fault::Gone),
        Err(ReadError::Empty) => Err(Fault::Dead(uid)),
        Err(error @ ReadError::Torn) => match view::identity(&mut file) {
            Ok(identity) if here.is_dead(&identity, file.0.as_fd()) => Err(Fault::Dead(uid)),
            _ => Err(refused(error)),
        },
        Err(error) => Err(refused(error)),
    }
}

/// Parses the user id in the name of a segment, `kcov-broker.UID.RUN`.
fn owner(segment: &str) -> Option<u32> {
    let (uid, run) = segment.strip_prefix(PREFIX)?.split_once('.')?;
    // Digits without leading zeros, so that no two names have the same owner and run.
    let is_canonical = |parsed: &u32| parsed.to_string() == uid;
    let is_plain = run.len() <= 64 && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    uid.parse().ok().filter(is_canonical).filter(|_| is_plain)
}

/// Opens a file that may be a segment. Does not block on FIFOs or leases (`O_NONBLOCK`).
fn open_plain(segment: &str, uid: u32) -> Result<File, Fault> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match open(&Path::new(DIRECTORY).join(segment), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Err(Fault::Gone),
        Err(Errno::EACCES) => return Err(Fault::Private),
        Err(errno) => return Err(refused(errno.desc())),
    };
    let facts = file.metadata().map_err(refused)?;
    match () {
        () if !facts.is_file() => Err(refused("it is not a regular file")),
        () if facts.uid() != uid => Err(refused("its owner is not the user in its name")),
        () if facts.mode() & 0o022 != 0 => Err(refused("it is writable by group or others")),
        // Just created; its size is not set yet.
        () if facts.len() == 0 && is_young(&facts) => Err(Fault::Gone),
        () if facts.len() != BYTES as u64 => Err(refused("it does not have the size of a segment")),
        () => Ok(file),
    }
}

fn is_young(facts: &fs::Metadata) -> bool {
    let changed = facts.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    changed.is_none_or(|age| age < FILLED_WITHIN)
}

/// A segment file that is read with `pread(2)`.
struct Copied(File);

impl Copied {
    fn is_young(&self) -> bool {
        self.0.metadata().is_ok_and(|facts| is_young(&facts))
    }
}

impl Source for Copied {
    type Error = io::Error;

    fn read(&mut self, at: usize, words: &mut [u64]) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let bytes = bytes.get_mut(..words.len() * 8).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.read_exact_at(bytes, at as u64 * 8)?;
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Ok(())
    }
}

impl Here {
    fn state(&self, view: &View, file: BorrowedFd<'_>) -> State {
        let silent = self.now.saturating_sub(view.beat) > SILENCE.as_nanos() as u64;
        match (self.is_dead(&view.identity, file), silent) {
            (true, _) => State::Dead,
            (false, true) => State::Silent,
            (false, false) => State::Live,
        }
    }

    /// Whether the broker has pids of this PID namespace.
    fn is_of(&self, identity: &Identity) -> bool {
        self.boot == identity.boot && self.pid_namespace == identity.pid_namespace
    }

    /// Whether the broker is dead. The pid of another PID namespace cannot be checked: there the lock decides.
    fn is_dead(&self, identity: &Identity, file: BorrowedFd<'_>) -> bool {
        match self.is_of(identity) {
            true => !runs(identity.pid, identity.start),
            false => self.boot != identity.boot || !segment::is_locked(file),
        }
    }
}

/// Whether the process with this pid and start time exists.
fn runs(pid: u32, start: u64) -> bool {
    let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else { return false };
    if kill(Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return false;
    }
    // With procfs mounted with `hidepid`, only the pid can be checked.
    procfs::stat(pid).is_none_or(|stat| stat.started == start && !stat.exiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_contain_the_owner() {
        assert_eq!(owner("kcov-broker.0.6f1c-a"), Some(0));
        assert_eq!(owner("kcov-broker.4294967295.a"), Some(u32::MAX));
        for name in [
            "kcov-broker.0",
            "kcov-broker.-1.a",
            "kcov-broker.00.a",
            "kcov-broker.+0.a",
            "kcov-broker.1.a b",
            "kcov-broker.1.\u{1b}[",
            "other.1.a",
        ] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn a_process_is_identified_by_boot_and_start_time() {
        let own = identity::identity();
        let here = Here { boot: own.boot, pid_namespace: own.pid_namespace, now: identity::now() };
        let file = File::open("/dev/null").expect("a file without a lock");
        let is_dead = |identity: &Identity| here.is_dead(identity, file.as_fd());
        assert!(!is_dead(&own));
        assert!(is_dead(&Identity { start: own.start + 1, ..own }));
        assert!(is_dead(&Identity { boot: own.boot ^ 1, ..own }));
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert!(is_dead(&Identity { pid, ..own }), "{pid}");
        }
        // In another namespace only the lock counts, whatever runs under that pid here.
        assert!(is_dead(&Identity { pid_namespace: 1, ..own }));
    }
}
