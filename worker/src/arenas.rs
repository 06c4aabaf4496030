//! The arenas that this worker has mapped.

use crate::sys::shared::SharedWords;
use kcov_proto::abi;
use kcov_proto::device::ArenaId;
use nix::errno::Errno;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Most arenas mapped at a time, a small part of `vm.max_map_count`. The oldest mapping is dropped first, and
/// requested again when needed.
const MAX_MAPPED: usize = 4096;

/// Mapped areas by arena id.
#[derive(Debug, Default)]
pub struct Arenas {
    mapped: HashMap<ArenaId, Rc<SharedWords>>,
    order: VecDeque<ArenaId>,
}

impl Arenas {
    /// The words of an arena, if it is mapped.
    #[must_use]
    pub fn get(&self, id: ArenaId) -> Option<Rc<SharedWords>> {
        self.mapped.get(&id).cloned()
    }

    /// Maps an arena of `words` words. The broker has sealed the file, so it cannot shrink. If the address space is
    /// used up (`RLIMIT_AS`), drops the oldest mappings: those of areas that are gone may still be there.
    ///
    /// # Errors
    /// Errors of `mmap(2)`; `EINVAL` for a size that no arena has.
    pub fn map(&mut self, id: ArenaId, words: u64, file: &OwnedFd) -> Result<(), Errno> {
        if !(abi::AREA_WORDS_MIN..=abi::AREA_WORDS_MAX).contains(&words) {
            return Err(Errno::EINVAL);
        }
        while self.mapped.len() >= MAX_MAPPED && self.drop_oldest() {}
        let mapping = loop {
            match SharedWords::map(file, words as usize, true) {
                Err(Errno::ENOMEM) if self.drop_oldest() => {}
                mapped => break mapped?,
            }
        };
        if self.mapped.insert(id, Rc::new(mapping)).is_none() {
            self.order.push_back(id);
        }
        Ok(())
    }

    /// Unmaps the arena that was mapped first. Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        self.order.pop_front().is_some_and(|oldest| self.mapped.remove(&oldest).is_some())
    }

    /// Unmaps an arena that no longer exists.
    pub fn unmap(&mut self, id: ArenaId) {
        if self.mapped.remove(&id).is_some() {
            self.order.retain(|&other| other != id);
        }
    }
}
