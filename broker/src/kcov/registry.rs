//! The KCOV registry of one tenant: the pure [`Device`] with its arenas, its threads and the roster.
//!
//! Every change goes through here, so that the four always agree: an owner has a pidfd, an armed thread has a line in the
//! roster, an instance has an arena.
//!
//! An instance is made by `INIT_TRACE`. Until then an open of the device is a *blank* ([`Blank`]), for which the registry
//! answers as for an instance that is not initialised.

mod exec;
mod sections;

use crate::kcov::arena::Arena;
use crate::kcov::arena_table::ArenaTable;
use crate::kcov::commons::Commons;
use crate::kcov::mark::Mark;
use crate::kcov::threads::{ExecOutcome, Threads};
use crate::launch::Extensions;
use crate::launch::quotas::Quotas;
use crate::sys::memfd::Reopener;
use crate::sys::shared::SharedWords;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg, TraceMode};
use kcov_proto::device::{ArenaId, Armed, Device, Options, Refusal, Rules, Tid};
use kcov_proto::message::{Blank, FileId, NotificationId};
use kcov_proto::quota::{Quota, Refusals};
use kcov_proto::roster::{self, RosterEntry, RosterWriter};
use kcov_proto::sections::Sections;
use nix::errno::Errno as SysErrno;
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
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
    /// The file of the placeholder.
    placeholder: Option<Rc<OwnedFd>>,
    /// The marked opens of blank files that have an instance. Other descriptors of the open get it.
    by_mark: HashMap<(FileId, u64), ArenaId>,
    marks: HashMap<ArenaId, (FileId, Mark)>,
    opened: u64,
    refusals: Refusals,
    /// When all arenas, or all owners, may be looked at again for a caller that is over a quota.
    next_room: Option<Instant>,
    gone: Vec<(ArenaId, Arena)>,
    released_execs: Vec<NotificationId>,
    unwatched: Vec<Tid>,
    commons: Commons,
    sections: Sections,
    /// The sequence of each instance after its last `DISABLE`.
    disabled: HashMap<ArenaId, u64>,
}

fn from_system(errno: SysErrno) -> Errno {
    Errno(errno as i32)
}

impl Registry {
    /// An empty registry, with the roster's read-only descriptor for workers. `placeholder`: a description of the
    /// placeholder.
    ///
    /// # Errors
    /// As `memfd_create(2)`.
    pub fn new(
        quotas: Quotas,
        extensions: Extensions,
        rules: Rules,
        placeholder: Option<OwnedFd>,
    ) -> Result<(Self, OwnedFd), SysErrno> {
        let words = SharedWords::new(c"kcov-roster", roster::WORDS)?;
        let read_only = words.read_only()?;
        let registry = Registry {
            device: Device::with(Options { rules, shared: extensions.shared, max_handles: quotas.handles }),
            arenas: ArenaTable::default(),
            threads: Threads::default(),
            roster: RosterWriter::new(words).ok_or(SysErrno::EINVAL)?,
            quotas,
            extensions,
            reopener: Reopener::new()?,
            placeholder: placeholder.map(Rc::new),
            by_mark: HashMap::new(),
            marks: HashMap::new(),
            opened: 0,
            refusals: Refusals::default(),
            next_room: None,
            gone: Vec::new(),
            released_execs: Vec::new(),
            unwatched: Vec::new(),
            commons: Commons::default(),
            sections: Sections::default(),
            disabled: HashMap::new(),
        };
        Ok((registry, read_only))
    }

    /// Instances that exist.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.device.live()
    }

    /// Instances ever made.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// What was refused over a quota.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    /// Remote handles that are taken.
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

    /// The arenas.
    #[must_use]
    pub fn arenas(&self) -> &ArenaTable {
        &self.arenas
    }

    /// Takes the instances that ended, with their arenas: workers must unmap them.
    pub fn take_gone(&mut self) -> Vec<(ArenaId, Arena)> {
        std::mem::take(&mut self.gone)
    }

    /// Takes the notifications of `execve`s that waited for another one and may continue.
    pub fn take_released_execs(&mut self) -> Vec<NotificationId> {
        std::mem::take(&mut self.released_execs)
    }

    /// Takes the owners whose end is to be watched from now on.
    #[must_use]
    pub fn take_unwatched(&mut self) -> Vec<Tid> {
        std::mem::take(&mut self.unwatched)
    }

    /// Forgets former owners, which are kept for speed only.
    pub fn forget_idle(&mut self) {
        self.threads.forget_idle();
    }

    /// The instance behind a file.
    #[must_use]
    pub fn find(&self, file: FileId) -> Option<ArenaId> {
        self.arenas.find(file)
    }

    /// Whether the tenant may have opened the arena of an instance again: a descriptor of it may be a blank.
    pub fn is_reopened(&mut self, id: ArenaId) -> bool {
        let is_reopened = self.arenas.is_reopened(id);
        if is_reopened && let Some(arena) = self.arenas.get_mut(id) {
            // If this fails, a read-only description of the tenant's own does not keep the arena.
            let _ = arena.count_all(&self.reopener);
        }
        is_reopened
    }

    /// The instance of the open that a blank descriptor is of, if it has one.
    #[must_use]
    pub fn instance_of(&self, blank: &Blank) -> Option<ArenaId> {
        self.by_mark.get(&(blank.file, blank.mark?)).copied()
    }

    /// `KCOV_INIT_TRACE` on a blank descriptor whose open has no instance: makes it. Returns the instance, and a description
    /// for the descriptor.
    ///
    /// # Errors
    /// As [`Device::check_init`]; `ENOMEM` over a quota, before anything is allocated.
    pub fn init_trace(&mut self, blank: &Blank, words: u64) -> Result<(ArenaId, OwnedFd), Errno> {
        self.fresh(|device, id| device.check_init(id, words))?;
        let bytes = words * abi::WORD;
        self.check_quotas(bytes)?;
        let mut arena = Arena::create(words, blank.flags, &self.reopener).map_err(from_system)?;
        let description = arena.describe(blank.flags, &self.reopener).map_err(from_system)?;
        let id = self.device.open();
        let made = self.device.commit_init(id, words).map_err(|refusal| refusal.errno);
        if let Err(errno) = made.and_then(|()| self.arenas.insert(id, arena).map_err(from_system)) {
            self.device.release(id);
            return Err(errno);
        }
        if let Some(mark) = self.mark_of(blank) {
            self.by_mark.insert((blank.file, mark.position()), id);
            self.marks.insert(id, (blank.file, mark));
        }
        self.opened += 1;
        self.show_counts();
        Ok((id, description))
    }

    /// The mark of a blank's open, with a description of the broker's own by which it can be watched.
    fn mark_of(&self, blank: &Blank) -> Option<Mark> {
        let position = blank.mark?;
        let file = match self.arenas.find(blank.file).and_then(|id| self.arenas.get(id)) {
            // The blank is an arena that was opened again.
            Some(arena) => Rc::new(arena.file().try_clone_to_owned().ok()?),
            None => self.placeholder.clone()?,
        };
        Some(Mark::new(file, position))
    }

    /// Another description of an instance, for one more descriptor of its open, which has `flags`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn describe(&mut self, id: ArenaId, flags: i32) -> Result<OwnedFd, Errno> {
        let arena = self.arenas.get_mut(id).ok_or(Errno::EBADF)?;
        arena.describe(flags, &self.reopener).map_err(from_system)
    }

    /// The tenant has no description of the instance: forgets it, unless a thread owns it.
    pub fn abandon(&mut self, id: ArenaId) {
        if self.device.release(id) {
            self.forget(id);
        }
    }

    /// `KCOV_INIT_TRACE` on a descriptor of an instance: refuses it.
    ///
    /// # Errors
    /// Always; as [`Device::check_init`].
    pub fn init_again(&self, id: ArenaId, words: u64) -> Result<(), Errno> {
        self.device.check_init(id, words).map_err(|refusal| refusal.errno)
    }

    /// What the device answers to a request on an instance that is not initialised.
    ///
    /// # Errors
    /// Those of the request.
    pub fn on_fresh<T>(
        &mut self,
        ask: impl FnOnce(&mut Self, ArenaId) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let id = self.device.open();
        let answer = ask(self, id);
        self.device.release(id);
        answer
    }

    fn fresh(&mut self, ask: impl FnOnce(&Device, ArenaId) -> Result<(), Refusal>) -> Result<(), Errno> {
        self.on_fresh(|registry, id| ask(&registry.device, id).map_err(|refusal| refusal.errno))
    }

    fn check_quotas(&mut self, bytes: u64) -> Result<(), Errno> {
        if self.device.live() >= self.quotas.instances {
            self.make_room();
        }
        let over = if self.device.live() >= self.quotas.instances {
            Quota::Instances
        } else if bytes > self.quotas.area {
            Quota::Area
        } else if !self.has_room(bytes) {
            Quota::Total
        } else {
            return Ok(());
        };
        self.refusals.count(over);
        Err(Errno::ENOMEM)
    }

    /// Whether `bytes` more fit under the quota of all areas.
    fn has_room(&mut self, bytes: u64) -> bool {
        if self.arenas.bytes().saturating_add(bytes) > self.quotas.total {
            self.make_room();
        }
        self.arenas.bytes().saturating_add(bytes) <= self.quotas.total
    }

    /// `KCOV_ENABLE`. The registry must then [hold on](Self::own) to the caller.
    ///
    /// # Errors
    /// As [`Device::enable`]; `ENOMEM` if the roster is full.
    pub fn enable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<Armed, Errno> {
        let armed = self.retry(|device| device.enable(id, caller, arg));
        self.arm(id, caller, armed)
    }

    /// `KCOV_UNIQUE_ENABLE`. The registry must then [hold on](Self::own) to the caller.
    ///
    /// # Errors
    /// `ENOTTY` if switched off; as [`Device::unique_enable`]; `ENOMEM` if the roster is full.
    pub fn unique_enable(&mut self, id: ArenaId, caller: Tid, bitmap: u64) -> Result<Armed, Errno> {
        if !self.extensions.unique {
            return Err(Errno::ENOTTY);
        }
        let armed = self.retry(|device| device.unique_enable(id, caller, bitmap));
        self.arm(id, caller, armed)
    }

    /// Lists a thread that was enabled in the roster.
    fn arm(&mut self, id: ArenaId, caller: Tid, armed: Result<Armed, Refusal>) -> Result<Armed, Errno> {
        let armed = armed.map_err(|refusal| refusal.errno)?;
        let entry = RosterEntry { armed: Some(armed), settle: self.roster.find(caller).settle };
        self.roster.set(caller, entry).map_err(|_| {
            self.device.disown(id, caller);
            Errno::ENOMEM
        })?;
        Ok(armed)
    }

    /// Returns whether several threads own the instance.
    #[must_use]
    pub fn has_several_owners(&self, id: ArenaId) -> bool {
        self.device.owners_of(id).len() > 1
    }

    /// Number of words at the start of an area that are a bitmap, see [`Device::bitmap`].
    #[must_use]
    pub fn bitmap(&self, id: ArenaId) -> u64 {
        self.device.bitmap(id)
    }

    /// `KCOV_REMOTE_ENABLE`.
    ///
    /// # Errors
    /// As [`Device::remote_enable`]; `ENOMEM` over the quota of handles, before any is taken.
    pub fn remote_enable(&mut self, id: ArenaId, caller: Tid, arg: &RemoteArg) -> Result<TraceMode, Errno> {
        self.with_common(caller, |registry| registry.try_remote_enable(id, caller, arg))
    }

    fn try_remote_enable(&mut self, id: ArenaId, caller: Tid, arg: &RemoteArg) -> Result<TraceMode, Errno> {
        let ask = |registry: &mut Self| registry.retry(|device| device.remote_enable(id, caller, arg));
        let is_full = |enabled: &Result<_, Refusal>| {
            enabled.as_ref().is_err_and(|refusal| refusal.errno == Errno::ENOMEM)
        };
        let mut enabled = ask(self);
        if is_full(&enabled) {
            self.make_room_for_handles();
            enabled = ask(self);
        }
        if is_full(&enabled) {
            self.refusals.count(Quota::Handles);
        }
        enabled.map_err(|refusal| {
            if refusal.rolls_back {
                self.device.clear_common_handle(caller);
            }
            refusal.errno
        })
    }

    /// Holds on to a new owner. If that fails, the owner gives the instance up.
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

    /// Whether the thread's own calls are recorded.
    #[must_use]
    pub fn collects(&self, tid: Tid) -> bool {
        self.device.armed(tid).is_some()
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
        let disable = |registry: &mut Self| registry.device.disable(id, caller, arg);
        self.with_common(caller, disable).map_err(|refusal| refusal.errno)?;
        self.note_disabled(id);
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
            // Dead under this number only: the outcome of the exec decides who has the instance.
            return;
        }
        if self.threads.is_dead(tid) {
            self.owner_exit(tid);
        }
        if !self.device.is_owner(tid) {
            self.threads.forget(tid);
        }
    }

    /// Asks the device, and again as long as the thread that it blames is exiting.
    fn retry<T>(&mut self, ask: impl Fn(&mut Device) -> Result<T, Refusal>) -> Result<T, Refusal> {
        loop {
            let refusal = match ask(&mut self.device) {
                Ok(value) => return Ok(value),
                Err(refusal) => refusal,
            };
            let Some(blamed) = refusal.blames else { return Err(refusal) };
            if self.is_in_exec(blamed) {
                return Err(refusal);
            }
            match self.device.is_owner(blamed) {
                true if self.threads.is_exiting(blamed) => self.owner_exit(blamed),
                true => return Err(refusal),
                // Settled: another thread has it now, or none.
                false => {}
            }
        }
    }

    fn owner_exit(&mut self, tid: Tid) {
        info!(event = "owner_exit", tid, "the owner of an instance exited");
        self.release_owner(tid);
        self.threads.forget(tid);
        self.commons.forget(tid);
    }

    fn release_owner(&mut self, tid: Tid) {
        if self.device.exit(tid) {
            self.let_go(tid);
        }
    }

    /// `tid` has given up an instance. Updates its roster entry, and stops watching the thread if that was
    /// its last instance.
    fn let_go(&mut self, tid: Tid) {
        if !self.device.is_owner(tid) {
            self.threads.disown(tid);
        }
        let entry = RosterEntry { armed: self.device.armed(tid), ..self.roster.find(tid) };
        // Does not fail: an entry that has an area is in the table already.
        let _ = self.roster.set(tid, entry);
        self.show_counts();
    }

    /// Releases arenas that no process has open, for a caller that is over a quota.
    fn make_room(&mut self) {
        /// A caller with no more arenas than these is never refused because of arenas that it has just closed.
        const LOOKS: usize = 256;
        self.ration(LOOKS, Self::look_at);
    }

    /// Releases handles whose owners are exiting, for a caller that is over their quota.
    fn make_room_for_handles(&mut self) {
        /// As above. Each of these looks costs ten times as much.
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

    /// Has `look` look at everything, but for at most a tenth of the time: a caller that asks again and again must not keep
    /// the broker busy. In between it looks at no more than `looks`, which cost little more than the call itself.
    fn ration(&mut self, looks: usize, look: impl FnOnce(&mut Self, usize)) {
        let start = Instant::now();
        if self.next_room.is_none_or(|next| start >= next) {
            look(self, usize::MAX);
            self.next_room = Some(start + 10 * start.elapsed());
        } else {
            look(self, looks);
        }
    }

    /// Releases arenas that no process has open: of the next in turn, or of `all`.
    pub fn sweep(&mut self, all: bool) {
        self.look_at(if all { usize::MAX } else { self.arenas.turn() });
    }

    /// Lets go of those among the next `looks` arenas that the tenant has no descriptor of: neither of the arena, nor one of
    /// its open that was not replaced.
    fn look_at(&mut self, looks: usize) {
        for id in self.arenas.released(looks) {
            if !self.marks.get(&id).is_some_and(|(_, mark)| mark.is_held()) {
                self.abandon(id);
            }
            // An instance that a thread owns stays until that thread lets go.
            if let Some(arena) = self.arenas.get(id) {
                arena.keep();
            }
        }
    }

    /// Whether there is nothing to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arenas.is_empty()
    }

    fn forget(&mut self, id: ArenaId) {
        self.disabled.remove(&id);
        if let Some(arena) = self.arenas.remove(id) {
            self.gone.push((id, arena));
        }
        if let Some((file, mark)) = self.marks.remove(&id) {
            self.by_mark.remove(&(file, mark.position()));
        }
        self.show_counts();
    }

    fn show_counts(&mut self) {
        self.roster.count(self.device.live(), self.device.owners());
        self.roster.count_handles(self.device.handles(), self.commons.had_any());
    }
}
