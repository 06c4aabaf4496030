//! A simple model of the KCOV device: a list of objects, always searched from end to end. It follows the
//! rules of kernel/kcov.c of Linux 6.12 request by request, with each check in the kernel's order.

use kcov_proto::Errno;
use kcov_proto::abi::{RemoteArg, TraceMode};
use kcov_proto::device::{ArenaId, Refusal, Tid};

/// One open of the device.
pub struct Object {
    pub id: ArenaId,
    /// The file is closed and unmapped, and no thread owned it at that time.
    pub released: bool,
    /// Size in words; 0 in mode DISABLED.
    pub size: u64,
    pub owner: Option<Owner>,
}

pub struct Owner {
    pub tid: Tid,
    pub mode: TraceMode,
    /// Set by `REMOTE_ENABLE`: the owner's own calls are not recorded.
    pub remote: bool,
    pub handles: Vec<u64>,
    pub area_size: u32,
}

pub struct Model {
    pub objects: Vec<Object>,
    /// Limit on remote handles in use.
    pub max_handles: usize,
}

pub type Answer<T> = Result<T, Refusal>;

fn refuse<T>(errno: Errno, blames: Option<Tid>) -> Answer<T> {
    Err(Refusal { errno, blames })
}

impl Model {
    /// `task_struct.kcov`: index of the object that `tid` owns. A thread owns at most one.
    pub fn kcov_of(&self, tid: Tid) -> Option<usize> {
        let mut owned = (0..self.objects.len()).filter(|&at| self.owner(at) == Some(tid));
        let found = owned.next();
        assert_eq!(owned.next(), None, "{tid} owns two objects");
        found
    }

    pub fn owner(&self, at: usize) -> Option<Tid> {
        self.objects[at].owner.as_ref().map(|owner| owner.tid)
    }

    /// Index of the object that has `handle`.
    pub fn holder_of(&self, handle: u64) -> Option<usize> {
        let has = |object: &Object| object.owner.as_ref().is_some_and(|it| it.handles.contains(&handle));
        self.objects.iter().position(has)
    }

    /// The owner of the object that has `handle`.
    fn holder(&self, handle: u64) -> Option<&Owner> {
        self.objects[self.holder_of(handle)?].owner.as_ref()
    }

    /// Number of handles in use.
    pub fn handles(&self) -> usize {
        self.objects.iter().filter_map(|object| object.owner.as_ref()).map(|owner| owner.handles.len()).sum()
    }

    pub fn open(&mut self, id: ArenaId) {
        self.objects.push(Object { id, released: false, size: 0, owner: None });
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

    /// Checks that both enables share: EINVAL if mode != INIT; EBUSY if the caller owns any object.
    fn enableable(&self, at: usize, caller: Tid) -> Answer<()> {
        let object = &self.objects[at];
        if object.released {
            return refuse(Errno::ENOTTY, None);
        }
        if object.size == 0 || object.owner.is_some() {
            return refuse(Errno::EINVAL, self.owner(at));
        }
        if self.kcov_of(caller).is_some() {
            return refuse(Errno::EBUSY, Some(caller));
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
        self.enableable(at, tid)?;
        let mode = Self::mode(arg)?;
        self.objects[at].owner = Some(Owner { tid, mode, remote: false, handles: Vec::new(), area_size: 0 });
        Ok(mode)
    }

    /// Each handle in turn: EINVAL unless the subsystem is USB and bits 32 to 55 are zero; EEXIST if in use;
    /// ENOMEM at the limit. Then the common handle: its subsystem must be 0, its instance not 0, all other
    /// bits 0.
    pub fn remote_enable(&mut self, at: usize, tid: Tid, arg: &RemoteArg) -> Answer<TraceMode> {
        self.enableable(at, tid)?;
        let mode = Self::mode(u64::from(arg.trace_mode))?;
        let mut handles = Vec::new();
        let common = Some(arg.common_handle).filter(|handle| *handle != 0);
        let globals = arg.handles.iter().map(|handle| (*handle, handle >> 56 == 1));
        for (handle, subsystem) in globals.chain(common.map(|handle| (handle, handle >> 56 == 0))) {
            if !subsystem || handle >> 32 & 0x00ff_ffff != 0 {
                return refuse(Errno::EINVAL, None);
            }
            if handles.contains(&handle) {
                return refuse(Errno::EEXIST, None);
            }
            if let Some(owner) = self.holder(handle) {
                return refuse(Errno::EEXIST, Some(owner.tid));
            }
            if self.handles() + handles.len() == self.max_handles {
                return refuse(Errno::ENOMEM, None);
            }
            handles.push(handle);
        }
        self.objects[at].owner = Some(Owner { tid, mode, remote: true, handles, area_size: arg.area_size });
        Ok(mode)
    }

    /// EINVAL if arg != 0, or the caller does not own this object.
    pub fn disable(&mut self, at: usize, caller: Tid, arg: u64) -> Answer<()> {
        if self.objects[at].released {
            return refuse(Errno::ENOTTY, None);
        }
        if arg != 0 || self.owner(at) != Some(caller) {
            return refuse(Errno::EINVAL, None);
        }
        self.objects[at].owner = None;
        Ok(())
    }

    /// As DISABLE; with `by_any`, any caller may once the object is initialised.
    pub fn reset(&self, at: usize, caller: Tid, arg: u64, by_any: bool) -> Answer<()> {
        let object = &self.objects[at];
        if object.released {
            return refuse(Errno::ENOTTY, None);
        }
        let allowed = if by_any { object.size != 0 } else { self.owner(at) == Some(caller) };
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

    /// Exit of a thread, however it ends: disables its object.
    pub fn exit(&mut self, tid: Tid) -> Option<ArenaId> {
        let at = self.kcov_of(tid)?;
        self.objects[at].owner = None;
        Some(self.objects[at].id)
    }

    /// `execve` by a thread that is not the leader: the leader has exited, and the thread has its id.
    pub fn rebind(&mut self, old: Tid, new: Tid) {
        if old != new {
            self.exit(new);
        }
        for owner in self.objects.iter_mut().filter_map(|object| object.owner.as_mut()) {
            if owner.tid == old {
                owner.tid = new;
            }
        }
    }

    /// The file and its mappings are gone: so is the object, unless a thread has it enabled.
    pub fn release(&mut self, at: usize) -> bool {
        let object = &mut self.objects[at];
        let goes = !object.released && object.owner.is_none();
        object.released |= goes;
        goes
    }
}
