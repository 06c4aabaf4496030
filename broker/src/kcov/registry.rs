//! The KCOV registry of one tenant: the pure [`Device`] with its arenas, its threads and the roster.
//!
//! Every change goes through here, so that the four never disagree: an owner has a pidfd, an armed thread has a line
//! in the roster, an instance has an arena.

mod exec;

use crate::kcov::arena::Arena;
use crate::kcov::arena_table::ArenaTable;
use crate::kcov::threads::{ExecOutcome, Threads};
use crate::launch::Extensions;
use crate::launch::quotas::Quotas;
use crate::sys::memfd::Reopener;
use crate::sys::shared::SharedWords;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg, TraceMode};
use kcov_proto::device::{ArenaId, Device, Refusal, Tid};
use kcov_proto::message::{FileId, NotificationId};
use kcov_proto::quota::{Quota, Refusals};
use kcov_proto::roster::{self, RosterEntry, RosterWriter};
use nix::errno::Errno as SysErrno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;
use tracing::info;

/// The KCOV side of a tenant.
#[derive(Debug)]
pub struct Registry {
    device: Device,
    arenas: ArenaTable,
    threads: Threads,
    roster: RosterWriter<SharedWords>,
    quotas: Quotas,
    extensions: Extensions,
    reopener: Reopener,
    opened: u64,
    refusals: Refusals,
    /// When a caller that is over a quota may have all arenas, or all owners, looked at again.
    next_room: Option<Instant>,
    gone: Vec<(ArenaId, Arena)>,
    released_execs: Vec<NotificationId>,
    unwatched: Vec<Tid>,
}

fn from_system(errno: SysErrno) -> Errno {
    Errno(errno as i32)
}

impl Registry {
    /// An empty registry, with the roster's read-only descriptor for workers.
    ///
    /// # Errors
    /// As `memfd_create(2)`.
    pub fn new(quotas: Quotas, extensions: Extensions) -> Result<(Self, OwnedFd), SysErrno> {
        let words = SharedWords::new(c"kcov-roster", roster::WORDS)?;
        let read_only = words.read_only()?;
        let registry = Registry {
            device: Device::with_handles(quotas.handles),
            arenas: ArenaTable::default(),
            threads: Threads::default(),
            roster: RosterWriter::new(words).ok_or(SysErrno::EINVAL)?,
            quotas,
            extensions,
            reopener: Reopener::new()?,
            opened: 0,
            refusals: Refusals::default(),
            next_room: None,
            gone: Vec::new(),
            released_execs: Vec::new(),
            unwatched: Vec::new(),
        };
        Ok((registry, read_only))
    }

    /// Instances that exist.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.device.live()
    }

    /// Instances ever opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// What was refused, as it was over a quota.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    /// Remote handles taken.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.device.handles()
    }

    /// Threads that own an instance.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.device.owners()
    }

    /// Bytes of all areas.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.arenas.bytes()
    }

    /// The arenas themselves.
    #[must_use]
    pub fn arenas(&self) -> &ArenaTable {
        &self.arenas
    }

    /// Instances that ended since this was last asked, with their arenas: workers must unmap them.
    pub fn take_gone(&mut self) -> Vec<(ArenaId, Arena)> {
        std::mem::take(&mut self.gone)
    }

    /// Notifications of `execve`s that waited for another one and may go on.
    pub fn take_released_execs(&mut self) -> Vec<NotificationId> {
        std::mem::take(&mut self.released_execs)
    }

    /// Owners whose end is to be watched from now on.
    #[must_use]
    pub fn take_unwatched(&mut self) -> Vec<Tid> {
        std::mem::take(&mut self.unwatched)
    }

    /// Lets go of former owners.
    pub fn forget_idle(&mut self) {
        self.threads.forget_idle();
    }

    /// The instance behind a file.
    #[must_use]
    pub fn find(&self, file: FileId) -> Option<ArenaId> {
        self.arenas.find(file)
    }

    /// Opens the device: an instance and a description of its arena for the caller.
    ///
    /// # Errors
    /// `ENFILE` over the quota of instances; else as the system calls.
    pub fn open(&mut self, flags: i32) -> Result<(ArenaId, OwnedFd), Errno> {
        if self.device.live() >= self.quotas.instances {
            self.make_room();
            if self.device.live() >= self.quotas.instances {
                self.refusals.count(Quota::Instances);
                return Err(Errno::ENFILE);
            }
        }
        let mut arena = Arena::create().map_err(from_system)?;
        let description = arena.open(flags, &self.reopener).map_err(from_system)?;
        let id = self.device.open();
        if let Err(errno) = self.arenas.insert(id, arena) {
            self.device.release(id);
            return Err(from_system(errno));
        }
        self.opened += 1;
        self.show_counts();
        Ok((id, description))
    }

    /// Nobody has a description of the instance: forgets it, unless a thread owns it.
    pub fn abandon(&mut self, id: ArenaId) {
        if self.device.release(id) {
            self.forget(id);
        }
    }

    /// `KCOV_INIT_TRACE`.
    ///
    /// # Errors
    /// As [`Device::check_init`]; `ENOMEM` over a quota, before anything is allocated; `EPERM` if seals of the
    /// tenant's stand in the way.
    pub fn init_trace(&mut self, id: ArenaId, words: u64) -> Result<(), Errno> {
        self.device.check_init(id, words).map_err(|refusal| refusal.errno)?;
        let bytes = words * abi::WORD;
        if bytes > self.quotas.area {
            self.refusals.count(Quota::Area);
            return Err(Errno::ENOMEM);
        }
        if !self.has_room(bytes) {
            self.refusals.count(Quota::Total);
            return Err(Errno::ENOMEM);
        }
        self.arenas.size(id, words).map_err(from_system)?;
        self.device.commit_init(id, words).map_err(|refusal| refusal.errno)
    }

    /// Whether `bytes` more fit under the quota of all areas.
    fn has_room(&mut self, bytes: u64) -> bool {
        if self.arenas.bytes().saturating_add(bytes) > self.quotas.total {
            self.make_room();
        }
        self.arenas.bytes().saturating_add(bytes) <= self.quotas.total
    }

    /// `KCOV_ENABLE`. The caller is then to be held on to: [`own`](Self::own).
    ///
    /// # Errors
    /// As [`Device::enable`]; `ENOMEM` if the roster is full.
    pub fn enable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<TraceMode, Errno> {
        let armed = self.retry(|device| device.enable(id, caller, arg))?;
        self.roster
            .set(caller, RosterEntry { armed: Some(armed), settle: self.roster.find(caller).settle })
            .map_err(|_| {
                self.device.exit(caller);
                Errno::ENOMEM
            })?;
        Ok(armed.mode)
    }

    /// `KCOV_REMOTE_ENABLE`.
    ///
    /// # Errors
    /// As [`Device::remote_enable`]; `ENOMEM` over the quota of handles, before any is taken.
    pub fn remote_enable(&mut self, id: ArenaId, caller: Tid, arg: &RemoteArg) -> Result<TraceMode, Errno> {
        let ask = |registry: &mut Self| registry.retry(|device| device.remote_enable(id, caller, arg));
        let mut enabled = ask(self);
        if enabled == Err(Errno::ENOMEM) {
            self.make_room_for_handles();
            enabled = ask(self);
        }
        if enabled == Err(Errno::ENOMEM) {
            self.refusals.count(Quota::Handles);
        }
        enabled
    }

    /// Holds on to a new owner; on failure the owner gives the instance up.
    ///
    /// # Errors
    /// As `pidfd_open(2)`.
    pub fn own(&mut self, caller: Tid) -> Result<(), Errno> {
        match self.threads.own(caller) {
            Ok(true) => self.unwatched.push(caller),
            Ok(false) => {}
            Err(errno) => {
                self.release_owner(caller);
                return Err(from_system(errno));
            }
        }
        self.show_counts();
        Ok(())
    }

    /// The pidfd of an owner, to be watched.
    #[must_use]
    pub fn owner_pidfd(&self, tid: Tid) -> Option<BorrowedFd<'_>> {
        self.threads.pidfd(tid)
    }

    /// `KCOV_DISABLE`.
    ///
    /// # Errors
    /// As [`Device::disable`].
    pub fn disable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<(), Errno> {
        self.device.disable(id, caller, arg).map_err(|refusal| refusal.errno)?;
        self.let_go(caller);
        Ok(())
    }

    /// `KCOV_RESET_TRACE`: whether the caller may.
    ///
    /// # Errors
    /// `ENOTTY` if switched off; as [`Device::reset_trace`].
    pub fn reset_trace(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<(), Errno> {
        if !self.extensions.reset {
            return Err(Errno::ENOTTY);
        }
        let by_any = self.extensions.reset_by_any;
        self.device.reset_trace(id, caller, arg, by_any).map_err(|refusal| refusal.errno)
    }

    /// The rules of `mmap`.
    ///
    /// # Errors
    /// As [`Device::check_mmap`].
    pub fn check_mmap(&self, id: ArenaId, length: u64, offset: u64) -> Result<(), Errno> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        self.device.check_mmap(id, length, offset, page as u64).map_err(|refusal| refusal.errno)
    }

    /// Words of an initialised area.
    #[must_use]
    pub fn words(&self, id: ArenaId) -> Option<u64> {
        self.device.words(id)
    }

    /// The pidfd of `tid` says that it is dead: an exit, or an `execve` that gave it another number.
    pub fn owner_died(&mut self, tid: Tid) {
        if self.is_in_exec(tid) {
            // Dead under this number only: the outcome tells who has the instance.
            return;
        }
        if self.threads.is_dead(tid) {
            self.owner_exit(tid);
        }
        if self.device.owned_by(tid).is_none() {
            self.threads.forget(tid);
        }
    }

    /// Asks the device, and again for as long as the thread that it blames turns out to be exiting.
    fn retry<T>(&mut self, ask: impl Fn(&mut Device) -> Result<T, Refusal>) -> Result<T, Errno> {
        loop {
            let refusal = match ask(&mut self.device) {
                Ok(value) => return Ok(value),
                Err(refusal) => refusal,
            };
            let Some(blamed) = refusal.blames else { return Err(refusal.errno) };
            if self.is_in_exec(blamed) {
                return Err(refusal.errno);
            }
            match self.device.owned_by(blamed) {
                Some(_) if self.threads.is_exiting(blamed) => self.owner_exit(blamed),
                Some(_) => return Err(refusal.errno),
                // Settled: it is another thread's now, or nobody's.
                None => {}
            }
        }
    }

    fn owner_exit(&mut self, tid: Tid) {
        info!(event = "owner_exit", tid, "the owner of an instance exited");
        self.release_owner(tid);
        self.threads.forget(tid);
    }

    fn release_owner(&mut self, tid: Tid) {
        if self.device.exit(tid).is_some() {
            self.let_go(tid);
        }
    }

    /// After the device let `tid` go: the rest does too.
    fn let_go(&mut self, tid: Tid) {
        self.threads.disown(tid);
        let settle = self.roster.find(tid).settle;
        let _ = self.roster.set(tid, RosterEntry { armed: None, settle });
        self.show_counts();
    }

    /// Lets go of arenas that nobody has any more, for a caller that is over a quota.
    fn make_room(&mut self) {
        /// A caller that has no more than these is never refused for what it has just closed.
        const LOOKS: usize = 256;
        self.ration(LOOKS, Self::look_at);
    }

    /// Lets go of handles whose owners are exiting, for a caller that is over their quota.
    fn make_room_for_handles(&mut self) {
        /// As above; but each of these looks costs ten times as much.
        const LOOKS: usize = 16;
        self.ration(LOOKS, |registry, looks| {
            let owners: Vec<Tid> = registry.device.handle_owners().take(looks).collect();
            for tid in owners {
                if !registry.is_in_exec(tid) && registry.threads.is_exiting(tid) {
                    registry.owner_exit(tid);
                }
            }
        });
    }

    /// Has `look` look at all that may be let go of, but never for more than a tenth of the time, or a caller that asks
    /// again and again would have the broker do nothing else; between, at no more than `looks`, which cost little more
    /// than the call itself.
    fn ration(&mut self, looks: usize, look: impl FnOnce(&mut Self, usize)) {
        let start = Instant::now();
        if self.next_room.is_none_or(|next| start >= next) {
            look(self, usize::MAX);
            self.next_room = Some(start + 10 * start.elapsed());
        } else {
            look(self, looks);
        }
    }

    /// Lets go of arenas that nobody has any more: of the next in turn, or of `all`.
    pub fn sweep(&mut self, all: bool) {
        self.look_at(if all { usize::MAX } else { self.arenas.turn() });
    }

    /// Lets go of those among the next `looks` arenas that nobody has any more.
    fn look_at(&mut self, looks: usize) {
        for id in self.arenas.released(looks) {
            self.abandon(id);
            // An instance that a thread owns stays until that thread lets go.
            if let Some(arena) = self.arenas.get(id) {
                arena.keep();
            }
        }
    }

    /// Whether there is anything to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arenas.is_empty()
    }

    fn forget(&mut self, id: ArenaId) {
        if let Some(arena) = self.arenas.remove(id) {
            self.gone.push((id, arena));
        }
        self.show_counts();
    }

    fn show_counts(&mut self) {
        self.roster.count(self.device.live(), self.device.owners());
    }
}
