//! A simple model of the KCOV device: a list of objects, always searched from end to end. It follows the
//! rules of kernel/kcov.c of Linux 6.12 or 7.2 request by request, with each check in the kernel's order.

use kcov_proto::Errno;
use kcov_proto::abi::{RemoteArg, TraceMode};
use kcov_proto::device::{ArenaId, Options, Refusal, Rules, Tid};
use std::collections::HashMap;

/// One open of the device.
pub struct Object {
    pub id: ArenaId,
    /// The file is closed and unmapped, and no thread owned it at that time.
    pub released: bool,
    /// Size in words; 0 in mode DISABLED.
    pub size: u64,
    pub enabled: Option<Enabled>,
}

pub struct Enabled {
    /// In the order in which they enabled it. Several only of a shared object.
    pub owners: Vec<Tid>,
    pub mode: TraceMode,
    /// Words of the bitmap of `UNIQUE_ENABLE`; otherwise 0.
    pub bitmap: u64,
    /// Set by `REMOTE_ENABLE`: the owner's own calls are not recorded.
    pub remote: bool,
    pub handles: Vec<u64>,
    pub area_size: u32,
}

pub struct Model {
    pub objects: Vec<Object>,
    pub options: Options,
    /// `task_struct.kcov_handle` of the threads that have one.
    pub common_handles: HashMap<Tid, u64>,
}

pub type Answer<T> = Result<T, Refusal>;

fn refuse<T>(errno: Errno, blames: Option<Tid>) -> Answer<T> {
    Err(Refusal { errno, blames, rolls_back: false })
}

impl Model {
    /// Index of the object that `tid` owns by `REMOTE_ENABLE` (`kcov_remote`), or by another request
    /// (`kcov`). A thread owns at most one of each kind.
    pub fn owned(&self, tid: Tid, remote: bool) -> Option<usize> {
        let owns = |object: &Object| {
            object.enabled.as_ref().is_some_and(|it| it.remote == remote && it.owners.contains(&tid))
        };
        let mut owned = (0..self.objects.len()).filter(|&at| owns(&self.objects[at]));
        let found = owned.next();
        assert_eq!(owned.next(), None, "{tid} owns two objects");
        found
    }

    pub fn owners(&self, at: usize) -> &[Tid] {
        self.objects[at].enabled.as_ref().map_or(&[], |enabled| &enabled.owners)
    }

    fn owns(&self, tid: Tid, at: usize) -> bool {
        self.owners(at).contains(&tid)
    }

    /// Index of the object that has `handle`.
    pub fn holder(&self, handle: u64) -> Option<usize> {
        let has = |object: &Object| object.enabled.as_ref().is_some_and(|it| it.handles.contains(&handle));
        self.objects.iter().position(has)
    }

    /// Number of handles in use.
    pub fn handles(&self) -> usize {
        self.objects.iter().filter_map(|object| object.enabled.as_ref()).map(|it| it.handles.len()).sum()
    }

    pub fn open(&mut self, id: ArenaId) {
        self.objects.push(Object { id, released: false, size: 0, enabled: None });
    }

    /// EINVAL if n < 2 or n > 0x0fffffff, even when busy; then EBUSY if mode != DISABLED.
    pub fn init(&mut self, at: usize, words: u64) -> Answer<()> {
        let object = &mut self.objects[at];
        if !(2..=0x0fff_ffff).contains(&words) {
            return refuse(Errno::EINVAL, None);
        }
        if object.released {
            return refuse(Errno::ENOTTY, None);
        }
        if object.size != 0 {
            return refuse(Errno::EBUSY, None);
        }
        object.size = words;
        Ok(())
    }

    /// EBUSY if the caller owns an object: any in 6.12, one of the same kind in 7.2.
    fn check_busy(&self, caller: Tid, remote: bool) -> Answer<()> {
        let busy = match self.options.rules {
            Rules::V6_12 => self.owned(caller, true).or(self.owned(caller, false)),
            Rules::V7_2 => self.owned(caller, remote),
        };
        if busy.is_some() { refuse(Errno::EBUSY, Some(caller)) } else { Ok(()) }
    }

    /// EINVAL if mode != INIT.
    fn check_ready(&self, at: usize) -> Answer<()> {
        let object = &self.objects[at];
        if object.released {
            return refuse(Errno::ENOTTY, None);
        }
        if object.size == 0 || object.enabled.is_some() {
            return refuse(Errno::EINVAL, self.owners(at).first().copied());
        }
        Ok(())
    }

    fn mode(arg: u64) -> Answer<TraceMode> {
        match arg {
            0 => Ok(TraceMode::Pc),
            1 => Ok(TraceMode::Cmp),
            _ => refuse(Errno::EINVAL, None),
        }
    }

    pub fn enable(&mut self, at: usize, tid: Tid, arg: u64) -> Answer<TraceMode> {
        self.enable_own(at, tid, || Ok((Self::mode(arg)?, 0)))
    }

    /// As ENABLE, then EINVAL if 0 or >= size - 1.
    pub fn unique_enable(&mut self, at: usize, tid: Tid, bitmap: u64) -> Answer<TraceMode> {
        let size = self.objects[at].size;
        let is_valid = bitmap > 0 && u128::from(bitmap) + 1 < u128::from(size);
        self.enable_own(at, tid, || {
            if is_valid { Ok((TraceMode::Pc, bitmap)) } else { refuse(Errno::EINVAL, None) }
        })
    }

    fn enable_own(
        &mut self,
        at: usize,
        tid: Tid,
        way: impl Fn() -> Answer<(TraceMode, u64)>,
    ) -> Answer<TraceMode> {
        let own = self.objects[at].enabled.as_ref().filter(|enabled| !enabled.remote);
        if let Some(enabled) = own.filter(|_| self.options.shared) {
            self.check_busy(tid, false)?;
            if way()? != (enabled.mode, enabled.bitmap) {
                return refuse(Errno::EINVAL, Some(enabled.owners[0]));
            }
        } else {
            self.check_ready(at)?;
            self.check_busy(tid, false)?;
        }
        let (mode, bitmap) = way()?;
        let (owners, handles) = (Vec::new(), Vec::new());
        let new = Enabled { owners, mode, bitmap, remote: false, handles, area_size: 0 };
        self.objects[at].enabled.get_or_insert(new).owners.push(tid);
        Ok(mode)
    }

    /// Each handle in turn: EINVAL unless the subsystem is USB and bits 32 to 55 are zero; EEXIST if in use;
    /// ENOMEM at the limit. Then the common handle: its subsystem must be 0, its instance not 0, all other
    /// bits 0. A failure of these undoes the request as DISABLE does.
    pub fn remote_enable(&mut self, at: usize, tid: Tid, arg: &RemoteArg) -> Answer<TraceMode> {
        self.check_ready(at)?;
        self.check_busy(tid, true)?;
        let mode = Self::mode(u64::from(arg.trace_mode))?;
        let undo = |errno, blames| Err(Refusal { errno, blames, rolls_back: true });
        let mut handles = Vec::new();
        let common = Some(arg.common_handle).filter(|handle| *handle != 0);
        let globals = arg.handles.iter().map(|handle| (*handle, handle >> 56 == 1));
        for (handle, subsystem) in globals.chain(common.map(|handle| (handle, handle >> 56 == 0))) {
            if !subsystem || handle >> 32 & 0x00ff_ffff != 0 {
                return undo(Errno::EINVAL, None);
            }
            if handles.contains(&handle) {
                return undo(Errno::EEXIST, None);
            }
            if let Some(holder) = self.holder(handle) {
                return undo(Errno::EEXIST, Some(self.owners(holder)[0]));
            }
            if self.handles() + handles.len() == self.options.max_handles {
                return undo(Errno::ENOMEM, None);
            }
            handles.push(handle);
        }
        self.common_handles.extend(common.map(|handle| (tid, handle)));
        let (owners, area_size) = (vec![tid], arg.area_size);
        self.objects[at].enabled =
            Some(Enabled { owners, mode, bitmap: 0, remote: true, handles, area_size });
        Ok(mode)
    }

    /// EINVAL if arg != 0, or the caller does not own this object. Clears the caller's common handle; in 7.2
    /// only if the object is its remote one.
    pub fn disable(&mut self, at: usize, caller: Tid, arg: u64) -> Answer<()> {
        if self.objects[at].released {
            return refuse(Errno::ENOTTY, None);
        }
        if arg != 0 || !self.owns(caller, at) {
            return refuse(Errno::EINVAL, None);
        }
        if self.options.rules == Rules::V6_12 || self.owned(caller, true) == Some(at) {
            self.common_handles.remove(&caller);
        }
        self.leave(at, caller);
        Ok(())
    }

    /// One owner less; without an owner the mode is INIT again.
    fn leave(&mut self, at: usize, tid: Tid) {
        let enabled = self.objects[at].enabled.as_mut().expect("an owner");
        enabled.owners.retain(|owner| *owner != tid);
        if enabled.owners.is_empty() {
            self.objects[at].enabled = None;
        }
    }

    /// As DISABLE; with `by_any`, any caller may once the object is initialised.
    pub fn reset(&self, at: usize, caller: Tid, arg: u64, by_any: bool) -> Answer<()> {
        let object = &self.objects[at];
        if object.released {
            return refuse(Errno::ENOTTY, None);
        }
        let allowed = if by_any { object.size != 0 } else { self.owns(caller, at) };
        if arg != 0 || !allowed { refuse(Errno::EINVAL, None) } else { Ok(()) }
    }

    /// EINVAL before INIT, if offset != 0, or if the page-rounded length != size * 8.
    pub fn mmap(&self, at: usize, length: u64, offset: u64, page: u64) -> Answer<()> {
        let object = &self.objects[at];
        let rounded = u128::from(length).div_ceil(u128::from(page)) * u128::from(page);
        let fits = rounded == u128::from(object.size) * 8;
        if object.released || object.size == 0 || offset != 0 || !fits {
            return refuse(Errno::EINVAL, None);
        }
        Ok(())
    }

    /// Exit of a thread, however it ends: disables its objects.
    pub fn exit(&mut self, tid: Tid) -> bool {
        self.common_handles.remove(&tid);
        let owned: Vec<usize> = (0..self.objects.len()).filter(|at| self.owns(tid, *at)).collect();
        owned.iter().for_each(|at| self.leave(*at, tid));
        !owned.is_empty()
    }

    /// `execve` by a thread that is not the leader: the leader has exited, and the thread has its id.
    pub fn rebind(&mut self, old: Tid, new: Tid) {
        if old != new {
            self.exit(new);
            if let Some(handle) = self.common_handles.remove(&old) {
                self.common_handles.insert(new, handle);
            }
        }
        for enabled in self.objects.iter_mut().filter_map(|object| object.enabled.as_mut()) {
            enabled.owners.iter_mut().filter(|owner| **owner == old).for_each(|owner| *owner = new);
        }
    }

    /// The file and its mappings are gone: so is the object, unless a thread has it enabled.
    pub fn release(&mut self, at: usize) -> bool {
        let object = &mut self.objects[at];
        let goes = !object.released && object.enabled.is_none();
        object.released |= goes;
        goes
    }
}
