//! Remote collection: `REMOTE_ENABLE`, the handles in use, and the common handles of threads.

use super::{ArenaId, Device, Enabled, Refusal, Rules, State, Tid};
use crate::abi::{self, RemoteArg, TraceMode};
use crate::errno::Errno;
use serde::{Deserialize, Serialize};

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

impl Device {
    /// Number of remote handles in use.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.handles.len()
    }

    /// The threads that hold remote handles.
    pub fn handle_owners(&self) -> impl Iterator<Item = Tid> + '_ {
        let holds = |id: ArenaId| matches!(self.state(id), Some(State::Tracing { enabled: Enabled::Remote { handles, .. }, .. }) if !handles.is_empty());
        self.threads.iter().filter(move |(_, owned)| owned.remote.is_some_and(holds)).map(|(tid, _)| *tid)
    }

    /// What `handle` refers to; `None` if it is not in use.
    #[must_use]
    pub fn remote(&self, handle: u64) -> Option<RemoteTarget> {
        let arena = *self.handles.get(&handle)?;
        match *self.state(arena)? {
            State::Tracing { words, mode, enabled: Enabled::Remote { area_size, .. } } => {
                Some(RemoteTarget { arena, mode, words, area_size, sequence: self.sequence(arena)? })
            }
            _ => None,
        }
    }

    /// The common handle of a thread (`task_struct.kcov_handle`); 0 if it has none.
    #[must_use]
    pub fn common_handle(&self, tid: Tid) -> u64 {
        self.common_handles.get(&tid).copied().unwrap_or_default()
    }

    /// Sets the common handle that a thread has from its parent; 0 for none.
    pub fn inherit_common_handle(&mut self, tid: Tid, handle: u64) {
        match handle {
            0 => self.clear_common_handle(tid),
            handle => drop(self.common_handles.insert(tid, handle)),
        }
    }

    /// `tid` no longer has a common handle. The handle itself stays in use as long as its instance is enabled.
    pub fn clear_common_handle(&mut self, tid: Tid) {
        self.common_handles.remove(&tid);
    }

    /// `KCOV_REMOTE_ENABLE` by the thread `caller`. A refusal changes nothing, but see
    /// [`Refusal::rolls_back`]. Without a common handle in `arg`, the caller keeps one that it has inherited.
    ///
    /// # Errors
    /// As [`enable`](Self::enable), then for each handle in turn, and last for the common handle: `EINVAL`
    /// for an invalid handle, `EEXIST` for one that is already in use in this tenant or occurs twice,
    /// `ENOMEM` if the limit is reached.
    pub fn remote_enable(&mut self, id: ArenaId, caller: Tid, arg: &RemoteArg) -> Result<TraceMode, Refusal> {
        let busy = match self.options.rules {
            Rules::V6_12 => self.is_owner(caller),
            Rules::V7_2 => self.threads.get(&caller).is_some_and(|owned| owned.remote.is_some()),
        };
        let words = self.enableable(id, caller, busy)?;
        let mode = TraceMode::from_arg(u64::from(arg.trace_mode))?;
        let rolls_back = |refusal: Refusal| Refusal { rolls_back: true, ..refusal };
        let handles = self.free_handles(arg).map_err(rolls_back)?;
        self.handles.extend(handles.iter().map(|&handle| (handle, id)));
        let enabled = Enabled::Remote { owner: caller, handles, area_size: arg.area_size };
        self.change(id, State::Tracing { words, mode, enabled });
        self.threads.entry(caller).or_default().remote = Some(id);
        if arg.common_handle != 0 {
            self.common_handles.insert(caller, arg.common_handle);
        }
        Ok(mode)
    }

    /// The handles of a request, if all of them are valid and free.
    fn free_handles(&self, arg: &RemoteArg) -> Result<Vec<u64>, Refusal> {
        let mut taken = Vec::with_capacity(arg.handles.len() + 1);
        let common = Some(arg.common_handle).filter(|handle| *handle != 0);
        let global = arg.handles.iter().map(|&handle| (handle, abi::is_global_handle(handle)));
        for (handle, is_valid) in global.chain(common.map(|handle| (handle, abi::is_common_handle(handle)))) {
            if !is_valid {
                return Err(Errno::EINVAL.into());
            }
            self.check_free(handle, &taken)?;
            taken.push(handle);
        }
        Ok(taken)
    }

    fn check_free(&self, handle: u64, taken: &[u64]) -> Result<(), Refusal> {
        if taken.contains(&handle) {
            return Err(Errno::EEXIST.into());
        }
        match self.handles.get(&handle) {
            // The kernel allocates an entry for each handle (`kcov_remote_add`), and fails with ENOMEM if it
            // cannot.
            None if self.handles.len() + taken.len() >= self.options.max_handles => Err(Errno::ENOMEM.into()),
            None => Ok(()),
            Some(&holder) => {
                let blames = self.owners_of(holder).first().copied();
                Err(Refusal { blames, ..Errno::EEXIST.into() })
            }
        }
    }
}
