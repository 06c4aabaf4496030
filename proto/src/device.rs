//! The KCOV device of one tenant as a state machine: kernel/kcov.c of Linux 6.12 or 7.2 without its memory.
//!
//! The machine holds the KCOV state of the kernel's `struct kcov` and `task_struct`: the mode of each
//! instance, the threads that own it, and the remote handles in use. It has no clock, descriptors or memory.
//! Its user opens files, allocates areas and knows which threads are alive.
//!
//! ```text
//!           init_trace      enable / unique_enable / remote_enable
//! Fresh ───────────────▶ Ready ───────────────────────────▶ Tracing
//!                          ▲                                   │
//!                          └──── disable, exit (the last) ─────┘
//! ```
//!
//! How many instances a thread may own depends on the [`Rules`]. How many threads may own one instance depends
//! on [`Options::shared`]: one as in the kernel, or several if all enable it in the same way.
//!
//! The device does not know whether a thread is still alive, but the answers depend on it: in the kernel, an
//! exiting thread gives up its instances before anyone can see that it is gone. So a [`Refusal`] names a
//! thread that [caused](Refusal::blames) it. If the user finds that this thread is exiting, it reports the
//! [`exit`](Device::exit) and repeats the request.

mod remote;

pub use remote::RemoteTarget;

use crate::abi::{self, TraceMode};
use crate::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Identifies an arena of a tenant, and the instance that it belongs to. Using a stale id is an ordinary
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArenaId {
    /// Index in the tenant's table.
    pub index: u32,
    /// How often the index was reused before.
    pub generation: u32,
}

impl ArenaId {
    /// The id as one number, for logs. No two instances of a tenant have the same.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// A thread id in the broker's PID namespace.
pub type Tid = u32;

/// The kernel whose rules the device follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rules {
    /// Linux 6.12: a thread owns at most one instance.
    V6_12,
    /// Linux 7.2: a thread owns at most one instance by `ENABLE` and another one by `REMOTE_ENABLE`.
    #[default]
    V7_2,
}

/// The choices of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The kernel whose rules the device follows.
    pub rules: Rules,
    /// Whether several threads may enable one instance.
    pub shared: bool,
    /// Most remote handles in use at a time.
    pub max_handles: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { rules: Rules::default(), shared: false, max_handles: usize::MAX }
    }
}

/// A request that the device refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Errno for the caller, if the blamed thread is alive.
    pub errno: Errno,
    /// A thread whose exit may change the answer.
    pub blames: Option<Tid>,
    /// A remote handle was refused. The kernel then undoes the whole request as `DISABLE` does: if the
    /// request is not repeated, the user must [clear the common handle](Device::clear_common_handle) of the
    /// caller.
    pub rolls_back: bool,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Refusal { errno, blames: None, rolls_back: false }
    }
}

fn blame(errno: Errno, tid: Tid) -> Refusal {
    Refusal { errno, blames: Some(tid), rolls_back: false }
}

/// How an instance was enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Enabled {
    /// By `ENABLE` or `UNIQUE_ENABLE`: the calls of its owners are recorded. `bitmap`: size in words, 0
    /// without one. There is at least one owner, and more only if the instance is shared.
    Own { owners: Vec<Tid>, bitmap: u64 },
    /// By `REMOTE_ENABLE`: background work marked with these handles is recorded, the owner's own calls are
    /// not.
    Remote { owner: Tid, handles: Vec<u64>, area_size: u32 },
}

impl Enabled {
    fn owners(&self) -> &[Tid] {
        match self {
            Enabled::Own { owners, .. } => owners,
            Enabled::Remote { owner, .. } => std::slice::from_ref(owner),
        }
    }

    fn owners_mut(&mut self) -> &mut [Tid] {
        match self {
            Enabled::Own { owners, .. } => owners,
            Enabled::Remote { owner, .. } => std::slice::from_mut(owner),
        }
    }
}

/// State of an instance (`enum kcov_mode` and the fields that go with it).
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Ready { words: u64 },
    Tracing { words: u64, mode: TraceMode, enabled: Enabled },
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    /// Changes whenever an instance with this index becomes enabled, becomes disabled or is released. Never
    /// decreases.
    sequence: u64,
    state: Option<State>,
}

/// The instances that a thread owns (`kcov` and `kcov_remote` in `task_struct` of Linux 7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owned {
    own: Option<ArenaId>,
    remote: Option<ArenaId>,
}

impl Owned {
    fn contains(self, id: ArenaId) -> bool {
        self.own == Some(id) || self.remote == Some(id)
    }
}

/// How the calls of a thread are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The arena that records go to.
    pub arena: ArenaId,
    /// Which records are collected.
    pub mode: TraceMode,
    /// Size of the area in words.
    pub words: u64,
    /// Number of words at the start of the area that are the bitmap of `UNIQUE_ENABLE`; 0 if there is none.
    pub bitmap: u64,
    /// Whether other threads may append to the area at the same time.
    pub shared: bool,
}

/// The KCOV device of one tenant.
#[derive(Debug, Default)]
pub struct Device {
    options: Options,
    entries: Vec<Entry>,
    free: Vec<u32>,
    live: usize,
    threads: HashMap<Tid, Owned>,
    handles: HashMap<u64, ArenaId>,
    common_handles: HashMap<Tid, u64>,
}

impl Device {
    /// A device without instances, with the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A device without instances.
    #[must_use]
    pub fn with(options: Options) -> Self {
        Device { options, ..Device::default() }
    }

    /// Number of instances.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Number of threads that own an instance.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.threads.len()
    }

    /// Returns whether `tid` owns an instance.
    #[must_use]
    pub fn is_owner(&self, tid: Tid) -> bool {
        self.threads.contains_key(&tid)
    }

    /// The threads that own this instance.
    #[must_use]
    pub fn owners_of(&self, id: ArenaId) -> &[Tid] {
        match self.state(id) {
            Some(State::Tracing { enabled, .. }) => enabled.owners(),
            _ => &[],
        }
    }

    /// The area that the own calls of `tid` are recorded into.
    #[must_use]
    pub fn armed(&self, tid: Tid) -> Option<Armed> {
        let arena = self.threads.get(&tid)?.own?;
        match self.state(arena) {
            Some(&State::Tracing { words, mode, enabled: Enabled::Own { bitmap, .. } }) => {
                Some(Armed { arena, mode, words, bitmap, shared: self.options.shared })
            }
            _ => None,
        }
    }

    /// Size in words of the bitmap at the start of an area: 0 unless `UNIQUE_ENABLE` is in effect.
    #[must_use]
    pub fn bitmap(&self, id: ArenaId) -> u64 {
        match self.state(id) {
            Some(State::Tracing { enabled: Enabled::Own { bitmap, .. }, .. }) => *bitmap,
            _ => 0,
        }
    }

    /// A number that changes whenever the instance becomes enabled, becomes disabled or is released
    /// (`kcov.sequence`). It also differs from that of every earlier instance with the same index. `None` if
    /// the instance does not exist.
    #[must_use]
    pub fn sequence(&self, id: ArenaId) -> Option<u64> {
        self.entry(id).map(|entry| entry.sequence)
    }

    /// `kcov_open`: creates an instance.
    pub fn open(&mut self) -> ArenaId {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.state = Some(State::Fresh);
            return ArenaId { index, generation: entry.generation };
        }
        self.entries.push(Entry { generation: 0, sequence: 0, state: Some(State::Fresh) });
        ArenaId { index: (self.entries.len() - 1) as u32, generation: 0 }
    }

    /// First half of `KCOV_INIT_TRACE`: checks the size. The caller allocates the area between the halves, so
    /// that a refused size costs nothing.
    ///
    /// # Errors
    /// `EINVAL` for the size, which is checked first; then `EBUSY` if the instance is already initialised.
    pub fn check_init(&self, id: ArenaId, words: u64) -> Result<(), Refusal> {
        if !(abi::AREA_WORDS_MIN..=abi::AREA_WORDS_MAX).contains(&words) {
            return Err(Errno::EINVAL.into());
        }
        match self.state(id).ok_or(Errno::ENOTTY)? {
            State::Fresh => Ok(()),
            State::Ready { .. } | State::Tracing { .. } => Err(Errno::EBUSY.into()),
        }
    }

    /// Second half of `KCOV_INIT_TRACE`: the area of `words` words has been allocated.
    ///
    /// # Errors
    /// As [`check_init`](Self::check_init).
    pub fn commit_init(&mut self, id: ArenaId, words: u64) -> Result<(), Refusal> {
        self.check_init(id, words)?;
        *self.state_mut(id)? = State::Ready { words };
        Ok(())
    }

    /// `KCOV_ENABLE` by the thread `caller`.
    ///
    /// # Errors
    /// In this order: `EINVAL` unless the instance is initialised and not enabled; `EBUSY` if the caller
    /// already owns an instance that the [`Rules`] do not allow beside this one; `EINVAL` for a mode other
    /// than 0 and 1. A shared instance may already be enabled by other threads: then `EINVAL` for another
    /// mode than theirs.
    pub fn enable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<Armed, Refusal> {
        self.enable_own(id, caller, |_| Ok((TraceMode::from_arg(arg)?, 0)))
    }

    /// `KCOV_UNIQUE_ENABLE` by the thread `caller`: as [`enable`](Self::enable) in PC mode, with a bitmap of
    /// `bitmap` words at the start of the area.
    ///
    /// # Errors
    /// As [`enable`](Self::enable), then `EINVAL` if the bitmap is empty or leaves no room for a count and a
    /// record.
    pub fn unique_enable(&mut self, id: ArenaId, caller: Tid, bitmap: u64) -> Result<Armed, Refusal> {
        self.enable_own(id, caller, |words| match bitmap {
            bitmap if bitmap == 0 || bitmap >= words - 1 => Err(Errno::EINVAL),
            bitmap => Ok((TraceMode::Pc, bitmap)),
        })
    }

    /// `way`: the mode and the size of the bitmap for an area of this many words.
    fn enable_own(
        &mut self,
        id: ArenaId,
        caller: Tid,
        way: impl FnOnce(u64) -> Result<(TraceMode, u64), Errno>,
    ) -> Result<Armed, Refusal> {
        let busy = match self.options.rules {
            Rules::V6_12 => self.is_owner(caller),
            Rules::V7_2 => self.threads.get(&caller).is_some_and(|owned| owned.own.is_some()),
        };
        let shared = self.options.shared;
        let words = match self.state_mut(id)? {
            State::Tracing { words, mode, enabled: Enabled::Own { owners, bitmap } } if shared => {
                if busy {
                    return Err(blame(Errno::EBUSY, caller));
                }
                if (*mode, *bitmap) != way(*words)? {
                    return Err(blame(Errno::EINVAL, owners[0]));
                }
                owners.push(caller);
                *words
            }
            _ => {
                let words = self.enableable(id, caller, busy)?;
                let (mode, bitmap) = way(words)?;
                let enabled = Enabled::Own { owners: vec![caller], bitmap };
                self.change(id, State::Tracing { words, mode, enabled });
                words
            }
        };
        self.threads.entry(caller).or_default().own = Some(id);
        let armed = self.armed(caller).ok_or(Errno::EINVAL)?;
        debug_assert_eq!(armed.words, words);
        Ok(armed)
    }

    /// `KCOV_DISABLE` by the thread `caller`. Under the rules of Linux 7.2, its common handle belongs to the
    /// instance of `REMOTE_ENABLE`, and stays if another one is disabled.
    ///
    /// # Errors
    /// `EINVAL` if `arg` is not 0, or the caller does not own this instance.
    pub fn disable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<(), Refusal> {
        self.state(id).ok_or(Errno::ENOTTY)?;
        let owned = self.threads.get(&caller).copied().unwrap_or_default();
        if arg != 0 || !owned.contains(id) {
            return Err(Errno::EINVAL.into());
        }
        if self.options.rules == Rules::V6_12 || owned.remote == Some(id) {
            self.clear_common_handle(caller);
        }
        self.disown(id, caller);
        Ok(())
    }

    /// `KCOV_RESET_TRACE` by the thread `caller`: checks whether it may set the count to 0. With `by_any`,
    /// every holder of the descriptor may.
    ///
    /// # Errors
    /// `EINVAL` if `arg` is not 0, or the caller is not a thread that collects here.
    pub fn reset_trace(&self, id: ArenaId, caller: Tid, arg: u64, by_any: bool) -> Result<(), Refusal> {
        let state = self.state(id).ok_or(Errno::ENOTTY)?;
        let allowed = match by_any {
            true => !matches!(state, State::Fresh),
            false => self.owners_of(id).contains(&caller),
        };
        if arg == 0 && allowed { Ok(()) } else { Err(Errno::EINVAL.into()) }
    }

    /// `kcov_mmap`: checks length and offset, both in bytes, for pages of `page` bytes.
    ///
    /// # Errors
    /// `EINVAL` before `INIT_TRACE`, for an offset other than 0, or if the length in whole pages is not that
    /// of the area.
    pub fn check_mmap(&self, id: ArenaId, length: u64, offset: u64, page: u64) -> Result<(), Refusal> {
        let words = match self.state(id).ok_or(Errno::EINVAL)? {
            State::Fresh => return Err(Errno::EINVAL.into()),
            State::Ready { words } | State::Tracing { words, .. } => *words,
        };
        let rounded = length.checked_next_multiple_of(page).ok_or(Errno::EINVAL)?;
        if offset == 0 && rounded == words * abi::WORD { Ok(()) } else { Err(Errno::EINVAL.into()) }
    }

    /// `kcov_task_exit`: `tid` gives up its instances, its remote handles and its common handle. Returns
    /// whether it owned an instance.
    pub fn exit(&mut self, tid: Tid) -> bool {
        self.clear_common_handle(tid);
        let Some(Owned { own, remote }) = self.threads.get(&tid).copied() else { return false };
        for id in own.into_iter().chain(remote) {
            self.disown(id, tid);
        }
        true
    }

    /// Handles an `execve` by thread `old` that was not the leader of its thread group: its id is now `new`,
    /// that of the leader. The former leader has exited, so it gives up what it owned.
    pub fn rebind(&mut self, old: Tid, new: Tid) {
        if old == new {
            return;
        }
        self.exit(new);
        if let Some(handle) = self.common_handles.remove(&old) {
            self.common_handles.insert(new, handle);
        }
        let Some(owned) = self.threads.remove(&old) else { return };
        for id in owned.own.into_iter().chain(owned.remote) {
            if let Ok(State::Tracing { enabled, .. }) = self.state_mut(id) {
                enabled.owners_mut().iter_mut().filter(|owner| **owner == old).for_each(|owner| *owner = new);
            }
        }
        self.threads.insert(new, owned);
    }

    /// Size of the area in words, once initialised.
    #[must_use]
    pub fn words(&self, id: ArenaId) -> Option<u64> {
        match self.state(id)? {
            State::Fresh => None,
            State::Ready { words } | State::Tracing { words, .. } => Some(*words),
        }
    }

    /// Removes an instance whose last descriptor and mapping are gone, unless a thread still owns it. Returns
    /// whether it was removed.
    pub fn release(&mut self, id: ArenaId) -> bool {
        match self.state(id) {
            None | Some(State::Tracing { .. }) => return false,
            Some(State::Fresh | State::Ready { .. }) => {}
        }
        let entry = &mut self.entries[id.index as usize];
        entry.state = None;
        entry.generation = entry.generation.wrapping_add(1);
        entry.sequence += 1;
        self.free.push(id.index);
        self.live -= 1;
        true
    }

    /// `tid` gives up one instance, with the remote handles of that. The instance stays enabled if other
    /// threads own it as well.
    pub fn disown(&mut self, id: ArenaId, tid: Tid) {
        let Some(owned) = self.threads.get_mut(&tid).filter(|owned| owned.contains(id)) else { return };
        for place in [&mut owned.own, &mut owned.remote].into_iter().filter(|place| **place == Some(id)) {
            *place = None;
        }
        if *owned == Owned::default() {
            self.threads.remove(&tid);
        }
        let Ok(State::Tracing { words, enabled, .. }) = self.state_mut(id) else { return };
        let words = *words;
        let handles = match enabled {
            Enabled::Own { owners, .. } => {
                owners.retain(|owner| *owner != tid);
                if !owners.is_empty() {
                    return;
                }
                Vec::new()
            }
            Enabled::Remote { handles, .. } => std::mem::take(handles),
        };
        self.change(id, State::Ready { words });
        for handle in handles {
            self.handles.remove(&handle);
        }
    }

    /// The checks that `ENABLE` and `REMOTE_ENABLE` share. `busy`: whether the caller owns an instance that
    /// it may not own beside another one. Returns the size of the area in words.
    fn enableable(&self, id: ArenaId, caller: Tid, busy: bool) -> Result<u64, Refusal> {
        match self.state(id).ok_or(Errno::ENOTTY)? {
            State::Fresh => Err(Errno::EINVAL.into()),
            State::Tracing { enabled, .. } => Err(blame(Errno::EINVAL, enabled.owners()[0])),
            State::Ready { .. } if busy => Err(blame(Errno::EBUSY, caller)),
            State::Ready { words } => Ok(*words),
        }
    }

    /// Enables or disables an instance, and changes its sequence.
    fn change(&mut self, id: ArenaId, state: State) {
        let entry = &mut self.entries[id.index as usize];
        entry.sequence += 1;
        entry.state = Some(state);
    }

    fn entry(&self, id: ArenaId) -> Option<&Entry> {
        self.entries.get(id.index as usize).filter(|e| e.generation == id.generation && e.state.is_some())
    }

    fn state(&self, id: ArenaId) -> Option<&State> {
        self.entry(id)?.state.as_ref()
    }

    fn state_mut(&mut self, id: ArenaId) -> Result<&mut State, Errno> {
        self.entries
            .get_mut(id.index as usize)
            .filter(|e| e.generation == id.generation)
            .and_then(|e| e.state.as_mut())
            .ok_or(Errno::ENOTTY)
    }
}
