//! The KCOV device of one tenant as a state machine: kernel/kcov.c of Linux 6.12 without its memory.
//!
//! The machine holds the KCOV state of the kernel's `struct kcov` and `task_struct`: the mode of each
//! instance, the thread that owns it, and the remote handles in use. It has no clock, descriptors or memory.
//! Its user opens files, allocates areas and knows which threads are alive.
//!
//! ```text
//!           init_trace            enable / remote_enable
//! Fresh ───────────────▶ Ready ───────────────────────────▶ Tracing
//!                          ▲                                   │
//!                          └──────── disable, exit ────────────┘
//! ```
//!
//! The device does not know whether a thread is still alive, but the answers depend on it: in the kernel, an
//! exiting thread gives up its instance before anyone can see that it is gone. So a [`Refusal`] names the
//! thread that [caused](Refusal::blames) it. If the user finds that this thread is exiting, it reports the
//! [`exit`](Device::exit) and repeats the request.

use crate::abi::{self, RemoteArg, TraceMode};
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

/// A request that the device refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Errno for the caller, if the blamed thread is alive.
    pub errno: Errno,
    /// The thread whose exit would change the answer.
    pub blames: Option<Tid>,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Refusal { errno, blames: None }
    }
}

fn blame(errno: Errno, tid: Tid) -> Refusal {
    Refusal { errno, blames: Some(tid) }
}

/// How an instance was enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Enabled {
    /// By `ENABLE`: the calls of its owner are recorded.
    Own,
    /// By `REMOTE_ENABLE`: background work marked with these handles is recorded, the owner's own calls are
    /// not.
    Remote { handles: Vec<u64>, area_size: u32 },
}

/// State of an instance (`enum kcov_mode` and the fields that go with it).
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Ready { words: u64 },
    Tracing { words: u64, mode: TraceMode, owner: Tid, enabled: Enabled },
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    /// Changes whenever an instance with this index is enabled, disabled or released. Never decreases.
    sequence: u64,
    state: Option<State>,
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
}

/// What a remote handle refers to (`struct kcov_remote`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteTarget {
    /// The instance that receives the records.
    pub arena: ArenaId,
    /// Which records are collected.
    pub mode: TraceMode,
    /// Size of the instance's area in words.
    pub words: u64,
    /// Size of the private buffer of a remote section in words. Any value is possible.
    pub area_size: u32,
    /// The instance's [`sequence`](Device::sequence). Once it has changed, the records of a section that
    /// began before are dropped.
    pub sequence: u64,
}

/// The KCOV device of one tenant.
#[derive(Debug)]
pub struct Device {
    entries: Vec<Entry>,
    free: Vec<u32>,
    live: usize,
    owners: HashMap<Tid, ArenaId>,
    handles: HashMap<u64, ArenaId>,
    max_handles: usize,
}

impl Default for Device {
    fn default() -> Self {
        Device::with_handles(usize::MAX)
    }
}

impl Device {
    /// A device without instances and without a limit on remote handles.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A device without instances. At most `max_handles` remote handles may be in use at a time.
    #[must_use]
    pub fn with_handles(max_handles: usize) -> Self {
        Device {
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            owners: HashMap::new(),
            handles: HashMap::new(),
            max_handles,
        }
    }

    /// Number of instances.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Number of remote handles in use.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.handles.len()
    }

    /// Number of threads that own an instance.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.owners.len()
    }

    /// What `handle` refers to; `None` if it is not in use.
    #[must_use]
    pub fn remote(&self, handle: u64) -> Option<RemoteTarget> {
        let arena = *self.handles.get(&handle)?;
        match self.state(arena)? {
            State::Tracing { words, mode, enabled: Enabled::Remote { area_size, .. }, .. } => {
                let sequence = self.sequence(arena)?;
                Some(RemoteTarget { arena, mode: *mode, words: *words, area_size: *area_size, sequence })
            }
            _ => None,
        }
    }

    /// A number that changes whenever the instance is enabled, disabled or released (`kcov.sequence`). It
    /// also differs from that of every earlier instance with the same index. `None` if the instance does not
    /// exist.
    #[must_use]
    pub fn sequence(&self, id: ArenaId) -> Option<u64> {
        self.entry(id).map(|entry| entry.sequence)
    }

    /// The threads that hold remote handles.
    pub fn handle_owners(&self) -> impl Iterator<Item = Tid> + '_ {
        let holds = |id: &ArenaId| matches!(self.state(*id), Some(State::Tracing { enabled: Enabled::Remote { handles, .. }, .. }) if !handles.is_empty());
        self.owners.iter().filter(move |(_, id)| holds(id)).map(|(tid, _)| *tid)
    }

    /// The instance that `tid` owns (`task_struct.kcov`).
    #[must_use]
    pub fn owned_by(&self, tid: Tid) -> Option<ArenaId> {
        self.owners.get(&tid).copied()
    }

    /// The thread that owns this instance.
    #[must_use]
    pub fn owner(&self, id: ArenaId) -> Option<Tid> {
        match self.state(id) {
            Some(State::Tracing { owner, .. }) => Some(*owner),
            _ => None,
        }
    }

    /// The area that the own calls of `tid` are recorded into.
    #[must_use]
    pub fn armed(&self, tid: Tid) -> Option<Armed> {
        let arena = self.owned_by(tid)?;
        match self.state(arena) {
            Some(State::Tracing { words, mode, enabled: Enabled::Own, .. }) => {
                Some(Armed { arena, mode: *mode, words: *words })
            }
            _ => None,
        }
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
    /// already owns an instance; `EINVAL` for a mode other than 0 and 1.
    pub fn enable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<Armed, Refusal> {
        let words = self.enableable(id, caller)?;
        let mode = TraceMode::from_arg(arg)?;
        self.change(id, State::Tracing { words, mode, owner: caller, enabled: Enabled::Own });
        self.owners.insert(caller, id);
        Ok(Armed { arena: id, mode, words })
    }

    /// `KCOV_REMOTE_ENABLE` by the thread `caller`. A refusal changes nothing.
    ///
    /// # Errors
    /// As [`enable`](Self::enable), then for each handle in turn, and last for the common handle: `EINVAL`
    /// for an invalid handle, `EEXIST` for one that is already in use in this tenant or occurs twice,
    /// `ENOMEM` if the limit is reached.
    pub fn remote_enable(&mut self, id: ArenaId, caller: Tid, arg: &RemoteArg) -> Result<TraceMode, Refusal> {
        let words = self.enableable(id, caller)?;
        let mode = TraceMode::from_arg(u64::from(arg.trace_mode))?;
        let mut taken = Vec::with_capacity(arg.handles.len() + 1);
        for &handle in &arg.handles {
            if !abi::is_global_handle(handle) {
                return Err(Errno::EINVAL.into());
            }
            self.check_free(handle, &taken)?;
            taken.push(handle);
        }
        if arg.common_handle != 0 {
            if !abi::is_common_handle(arg.common_handle) {
                return Err(Errno::EINVAL.into());
            }
            self.check_free(arg.common_handle, &taken)?;
            taken.push(arg.common_handle);
        }
        self.handles.extend(taken.iter().map(|&handle| (handle, id)));
        let enabled = Enabled::Remote { handles: taken, area_size: arg.area_size };
        self.change(id, State::Tracing { words, mode, owner: caller, enabled });
        self.owners.insert(caller, id);
        Ok(mode)
    }

    /// `KCOV_DISABLE` by the thread `caller`.
    ///
    /// # Errors
    /// `EINVAL` if `arg` is not 0, or the caller does not own this instance.
    pub fn disable(&mut self, id: ArenaId, caller: Tid, arg: u64) -> Result<(), Refusal> {
        self.state(id).ok_or(Errno::ENOTTY)?;
        if arg != 0 || self.owned_by(caller) != Some(id) {
            return Err(Errno::EINVAL.into());
        }
        self.exit(caller);
        Ok(())
    }

    /// `KCOV_RESET_TRACE` by the thread `caller`: checks whether it may set the count to 0. With `by_any`,
    /// every holder of the descriptor may.
    ///
    /// # Errors
    /// `EINVAL` if `arg` is not 0, or the caller is not the thread that collects here.
    pub fn reset_trace(&self, id: ArenaId, caller: Tid, arg: u64, by_any: bool) -> Result<(), Refusal> {
        let state = self.state(id).ok_or(Errno::ENOTTY)?;
        let tracing = matches!(state, State::Tracing { .. });
        let allowed = match by_any {
            true => !matches!(state, State::Fresh),
            false => tracing && self.owned_by(caller) == Some(id),
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

    /// `kcov_task_exit`: `tid` gives up its instance, which is returned, and its remote handles.
    pub fn exit(&mut self, tid: Tid) -> Option<ArenaId> {
        let id = self.owners.remove(&tid)?;
        let state = self.state_mut(id).ok()?;
        let State::Tracing { words, enabled, .. } = state else { return Some(id) };
        let handles = match std::mem::replace(enabled, Enabled::Own) {
            Enabled::Own => Vec::new(),
            Enabled::Remote { handles, .. } => handles,
        };
        let words = *words;
        self.change(id, State::Ready { words });
        for handle in handles {
            self.handles.remove(&handle);
        }
        Some(id)
    }

    /// Handles an `execve` by thread `old` that was not the leader of its thread group: its id is now `new`,
    /// that of the leader. The former leader has exited, so it gives up what it owned.
    pub fn rebind(&mut self, old: Tid, new: Tid) {
        if old == new {
            return;
        }
        self.exit(new);
        if let Some(id) = self.owners.remove(&old) {
            if let Ok(State::Tracing { owner, .. }) = self.state_mut(id) {
                *owner = new;
            }
            self.owners.insert(new, id);
        }
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

    /// The checks that `ENABLE` and `REMOTE_ENABLE` share. Returns the size of the area in words.
    fn enableable(&self, id: ArenaId, caller: Tid) -> Result<u64, Refusal> {
        let words = match self.state(id).ok_or(Errno::ENOTTY)? {
            State::Fresh => return Err(Errno::EINVAL.into()),
            State::Tracing { owner, .. } => return Err(blame(Errno::EINVAL, *owner)),
            State::Ready { words } => *words,
        };
        match self.owners.contains_key(&caller) {
            true => Err(blame(Errno::EBUSY, caller)),
            false => Ok(words),
        }
    }

    fn check_free(&self, handle: u64, taken: &[u64]) -> Result<(), Refusal> {
        if taken.contains(&handle) {
            return Err(Errno::EEXIST.into());
        }
        match self.handles.get(&handle) {
            // The kernel allocates an entry for each handle (`kcov_remote_add`), and fails with ENOMEM if it
            // cannot.
            None if self.handles.len() + taken.len() >= self.max_handles => Err(Errno::ENOMEM.into()),
            None => Ok(()),
            Some(&holder) => Err(Refusal { errno: Errno::EEXIST, blames: self.owner(holder) }),
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
