//! The segments of this machine: found, copied, judged.
//!
//! Anybody may put files into `/dev/shm`, of any kind and name and in any number. So a file counts only if it is a
//! plain file of the right size that belongs to the user its name says and that nobody else can write; none is waited
//! for, followed or mapped; and no more than [`MOST`] are looked at.

use super::tenant::{State, Tenant};
use super::{DIRECTORY, publisher};
use crate::launch::publication::PREFIX;
use crate::sys::procfs;
use kcov_proto::view::seqlock::Source;
use kcov_proto::view::{self, BYTES, Identity, ReadError, View};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Most files that are looked at.
pub const MOST: usize = 16_384;
/// A broker writes ten times a second at least. One that has not for so long is stopped, or gets no time.
const SILENCE: Duration = Duration::from_secs(3);
/// A broker fills its segment at once. One that is empty for so long has none.
const FILLED_WITHIN: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Segments of brokers, the dead among them.
    pub tenants: Vec<Tenant>,
    /// Segments of dead brokers, also those that show nothing whole.
    pub dead: Vec<Dead>,
    /// Files that are named like segments and are none, with the reason.
    pub refused: Vec<(String, String)>,
    /// Segments of others that this user may not read.
    pub private: usize,
    /// There were more files than are looked at.
    pub truncated: bool,
}

/// A segment that its broker has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its name.
    pub segment: String,
    /// Whose it is.
    pub uid: u32,
}

/// What the segments of a machine are judged by.
struct Here {
    boot: u128,
    pid_namespace: u64,
    now: u64,
}

/// Looks at all segments.
///
/// # Errors
/// If the directory cannot be read.
pub fn scan() -> io::Result<Catalogue> {
    let here =
        Here { boot: publisher::boot(), pid_namespace: publisher::pid_namespace(), now: publisher::now() };
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
                    found.dead.push(Dead { segment: tenant.segment.clone(), uid: tenant.uid });
                }
                found.tenants.push(tenant);
            }
            Err(Fault::Gone) => {}
            Err(Fault::Private) => found.private += 1,
            Err(Fault::Dead(uid)) => found.dead.push(Dead { segment, uid }),
            Err(Fault::Refused(reason)) => found.refused.push((segment, reason)),
        }
    }
    found.tenants.sort_by(|a, b| (&a.name, a.started).cmp(&(&b.name, b.started)));
    Ok(found)
}

/// Why a file shows no tenant.
enum Fault {
    /// It went away meanwhile.
    Gone,
    /// It may not be read.
    Private,
    /// Its broker, of this user, died before it was whole.
    Dead(u32),
    /// It is no segment.
    Refused(String),
}

fn refused(reason: impl ToString) -> Fault {
    Fault::Refused(reason.to_string())
}

fn look(segment: &str, here: &Here) -> Result<Tenant, Fault> {
    let uid = owner(segment).ok_or_else(|| refused("its name says no user"))?;
    let mut file = Copied(open_plain(segment, uid)?);
    match view::read(&mut file) {
        Ok(view) => Ok(Tenant::new(segment, uid, here.state(&view), here.now, view)),
        Err(ReadError::Source(_)) => Err(Fault::Gone),
        Err(ReadError::Empty) if file.is_young() => Err(Fault::Gone),
        Err(ReadError::Empty) => Err(Fault::Dead(uid)),
        Err(error @ ReadError::Torn) => match view::identity(&mut file) {
            Ok(identity) if here.is_dead(&identity) => Err(Fault::Dead(uid)),
            _ => Err(refused(error)),
        },
        Err(error) => Err(refused(error)),
    }
}

/// The user whose segment it is, by its name: `kcov-broker.UID.RUN`.
fn owner(segment: &str) -> Option<u32> {
    let (uid, run) = segment.strip_prefix(PREFIX)?.split_once('.')?;
    let is_plain = run.len() <= 64 && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    uid.parse().ok().filter(|_| is_plain)
}

/// Opens a segment, if it can be one, and waits for nobody: not for the other end of a FIFO, nor for the holder of a
/// lease.
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
        () if !facts.is_file() => Err(refused("it is no plain file")),
        () if facts.uid() != uid => Err(refused("it does not belong to the user that its name says")),
        () if facts.mode() & 0o022 != 0 => Err(refused("others may write it")),
        // Made, and its size not set yet.
        () if facts.len() == 0 && is_young(&facts) => Err(Fault::Gone),
        () if facts.len() != BYTES as u64 => Err(refused("it does not have the size of a segment")),
        () => Ok(file),
    }
}

fn is_young(facts: &fs::Metadata) -> bool {
    let changed = facts.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    changed.is_none_or(|age| age < FILLED_WITHIN)
}

/// A file that is copied word by word.
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
    fn state(&self, view: &View) -> State {
        let silent = self.now.saturating_sub(view.beat) > SILENCE.as_nanos() as u64;
        match (self.is_dead(&view.identity), silent) {
            (true, _) => State::Dead,
            (false, true) => State::Silent,
            (false, false) => State::Live,
        }
    }

    /// Whether the broker is known to be gone. In another PID namespace that cannot be told, but for a start of the
    /// machine that is over.
    fn is_dead(&self, identity: &Identity) -> bool {
        let sees = self.pid_namespace == identity.pid_namespace;
        self.boot != identity.boot || sees && !runs(identity.pid, identity.start)
    }
}

/// Whether the process that was started at `start` still has the number `pid`.
fn runs(pid: u32, start: u64) -> bool {
    let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else { return false };
    if kill(Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return false;
    }
    // A procfs that hides the processes of others (`hidepid`) leaves the number alone to go by.
    procfs::stat(pid).is_none_or(|stat| stat.started == start && !stat.exiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        assert_eq!(owner("kcov-broker.0.6f1c-a"), Some(0));
        assert_eq!(owner("kcov-broker.4294967295.a"), Some(u32::MAX));
        for name in
            ["kcov-broker.0", "kcov-broker.-1.a", "kcov-broker.1.a b", "kcov-broker.1.\u{1b}[", "other.1.a"]
        {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = publisher::identity();
        let here = Here { boot: own.boot, pid_namespace: own.pid_namespace, now: publisher::now() };
        assert!(!here.is_dead(&own));
        assert!(here.is_dead(&Identity { start: own.start + 1, ..own }));
        assert!(here.is_dead(&Identity { boot: own.boot ^ 1, ..own }));
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert!(here.is_dead(&Identity { pid, ..own }), "{pid}");
        }
        // Of another namespace nothing is known.
        assert!(!here.is_dead(&Identity { pid: 0, pid_namespace: 1, ..own }));
    }
}
