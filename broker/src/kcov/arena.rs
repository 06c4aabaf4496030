//! One arena: the memfd behind an instance.
//!
//! The broker holds the description that `memfd_create` made, and workers map that one. The tenant gets descriptions of
//! its own, made by opening the file again. So the kernel can be asked whether any of them is left: it grants or refuses a
//! lease ([`memfd`]).

use crate::sys::memfd::{self, Reopener};
use kcov_proto::abi::{self, TraceMode};
use kcov_proto::area::{cmp_position, pc_position};
use kcov_proto::message::{FileId, Heartbeat};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::stat::{Mode, fchmod, fstat, major, minor};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Seals of an area. A truncated area would raise SIGBUS in the worker.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);
/// Open flags that a description keeps.
const KEPT: i32 =
    libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK | libc::O_SYNC | libc::O_ASYNC | libc::O_NOATIME;

/// The memfd of an instance.
#[derive(Debug)]
pub struct Arena {
    file: OwnedFd,
    identity: FileId,
    bytes: u64,
    handed_out: HandedOut,
}

/// How descriptions of the tenant are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandedOut {
    /// As writers.
    Writer,
    /// As readers and writers; `file` is a counted writer itself.
    Reader,
    /// Not at all: the description has access mode 3, and was not closed yet.
    Uncounted,
}

impl Arena {
    /// An arena of `words` zero words that no process can resize: mode 0600, owned by the broker's user, as the kernel's file
    /// is. `flags`: the open flags of the description that the tenant will have.
    ///
    /// # Errors
    /// `ENOMEM` if the size cannot be had; else as `memfd_create(2)` and `open(2)`.
    pub fn create(words: u64, flags: i32, reopener: &Reopener) -> Result<Self, Errno> {
        Self::create_sealed(words, flags, SEALS, reopener)
    }

    /// A file of a handler's device: it has an identity, and nothing can be stored in it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_empty(flags: i32, reopener: &Reopener) -> Result<Self, Errno> {
        Self::create_sealed(0, flags, SEALS | SealFlag::F_SEAL_WRITE, reopener)
    }

    fn create_sealed(words: u64, flags: i32, seals: SealFlag, reopener: &Reopener) -> Result<Self, Errno> {
        let mut file = memfd::create(c"kcov")?;
        fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let facts = fstat(&file)?;
        let device = major(facts.st_dev) << 32 | minor(facts.st_dev);
        let identity = FileId { device, inode: facts.st_ino };
        let bytes = words * abi::WORD;
        match ftruncate(&file, bytes as libc::off_t) {
            Err(Errno::EFBIG | Errno::EINVAL | Errno::ENOSPC) => return Err(Errno::ENOMEM),
            other => other?,
        }
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let handed_out = match flags & libc::O_ACCMODE {
            libc::O_RDWR | libc::O_WRONLY => HandedOut::Writer,
            libc::O_RDONLY => {
                file = reopener.reopen(file.as_fd(), OFlag::O_RDWR)?;
                HandedOut::Reader
            }
            _ => HandedOut::Uncounted,
        };
        Ok(Arena { file, identity, bytes, handed_out })
    }

    /// Which file it is.
    #[must_use]
    pub fn identity(&self) -> FileId {
        self.identity
    }

    /// Bytes of the area.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The description that workers map.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A description for a caller whose descriptor has `flags`. It carries a lock that tells it from a description that the
    /// tenant makes by opening the file again.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn describe(&mut self, flags: i32, reopener: &Reopener) -> Result<OwnedFd, Errno> {
        let description = reopener.reopen(self.file.as_fd(), OFlag::from_bits_retain(flags & KEPT))?;
        // Without it, if the tenant has locked the file: then the description counts as one that was opened again.
        let _ = memfd::lock_shared(description.as_fd());
        Ok(description)
    }

    /// From now on every description of the file counts, also one that the tenant made by opening the file again.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn count_all(&mut self, reopener: &Reopener) -> Result<(), Errno> {
        if self.handed_out == HandedOut::Writer {
            self.file = reopener.reopen(self.file.as_fd(), OFlag::O_RDWR)?;
            self.handed_out = HandedOut::Reader;
        }
        Ok(())
    }

    /// Whether a description with access mode 3 is out.
    #[must_use]
    pub fn is_uncounted(&self) -> bool {
        self.handed_out == HandedOut::Uncounted
    }

    /// A description of access mode 3 was closed.
    pub fn uncounted_closed(&mut self) {
        self.handed_out = HandedOut::Writer;
    }

    /// Whether the tenant has no description and no mapping left. If so, the arena must be dropped, or [kept](Self::keep).
    ///
    /// # Errors
    /// As `fcntl(2)`.
    pub fn is_released(&self) -> Result<bool, Errno> {
        match self.handed_out {
            HandedOut::Writer => memfd::has_no_writer(self.file.as_fd()),
            HandedOut::Reader => memfd::is_sole(self.file.as_fd()),
            HandedOut::Uncounted => Ok(false),
        }
    }

    /// Keeps the arena although the tenant has no description left.
    pub fn keep(&self) {
        // The tenant may open the file through procfs, and would wait for a lease.
        let _ = memfd::give_back(self.file.as_fd());
    }

    /// Appends the record that an `ENABLE` leaves, by the rules of [`kcov_proto::area`]. The thread that was just enabled is
    /// in this call, so nothing else is appended. Returns whether there was room.
    pub fn beat(&self, mode: TraceMode, heartbeat: &Heartbeat) -> bool {
        let words = self.bytes / abi::WORD;
        let mut count = [0; 8];
        if pread(&self.file, &mut count, 0) != Ok(count.len()) {
            return false;
        }
        let count = u64::from_ne_bytes(count);
        let stored = match mode {
            TraceMode::Pc => pc_position(count, words).map(|at| (at, self.store(at, &[heartbeat.pc]))),
            TraceMode::Cmp => cmp_position(count, words).map(|at| (at, self.store(at, &heartbeat.cmp))),
        };
        match stored {
            // The PC has replaced the count.
            Some((0, stored)) => stored,
            Some((_, stored)) => stored && self.store(0, &[count + 1]),
            None => false,
        }
    }

    fn store(&self, at: u64, words: &[u64]) -> bool {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        pwrite(&self.file, &bytes, (at * abi::WORD) as libc::off_t) == Ok(bytes.len())
    }

    /// Returns whether the count is 0.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        let mut count = [0; 8];
        pread(&self.file, &mut count, 0) == Ok(count.len()) && u64::from_ne_bytes(count) == 0
    }

    /// Sets the count to 0.
    pub fn reset(&self) {
        // The area is initialised, so there is room for it.
        self.store(0, &[0]);
    }

    /// Gives the memory back although workers may still have it mapped.
    pub fn empty(&self) {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // If this fails, the memory is freed when the last worker unmaps it.
        let _ = fallocate(&self.file, hole, 0, self.bytes as libc::off_t);
    }
}
