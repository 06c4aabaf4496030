//! One arena: the memfd behind an instance.
//!
//! The broker holds the description that `memfd_create` made; workers map that one. Every open of the tenant gets a
//! description of its own, made by re-opening the file, so that the kernel can be asked whether any of them is left: by
//! the lease that it grants or refuses ([`memfd`]).

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

/// What an initialised area is sealed with: a truncated one would raise SIGBUS in the worker.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);
/// `F_SEAL_EXEC` (Linux 6.3), which comes with `MFD_NOEXEC_SEAL`.
const SEAL_EXEC: i32 = 0x20;
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

/// What kind of description the tenant has, by which the question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandedOut {
    /// One that counts as a writer, or none.
    Writer,
    /// One that counts as a reader; `file` is a counted writer then.
    Reader,
    /// One with access mode 3, which counts as neither, and is not closed yet.
    Uncounted,
}

impl Arena {
    /// A new, empty arena: mode 0600, owned by the broker's user, as the kernel's file is.
    ///
    /// # Errors
    /// As `memfd_create(2)` and `open(2)`.
    pub fn create() -> Result<Self, Errno> {
        let file = memfd::create(c"kcov")?;
        fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let facts = fstat(&file)?;
        let device = major(facts.st_dev) << 32 | minor(facts.st_dev);
        let identity = FileId { device, inode: facts.st_ino };
        Ok(Arena { file, identity, bytes: 0, handed_out: HandedOut::Writer })
    }

    /// Which file it is.
    #[must_use]
    pub fn identity(&self) -> FileId {
        self.identity
    }

    /// Bytes of the area, 0 before it is sized.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The description that workers map.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A description for a caller that opened the device with `flags`.
    ///
    /// # Errors
    /// `EINVAL` for `O_DIRECT`, which the kernel's device does not have either; else as `open(2)`.
    pub fn open(&mut self, flags: i32, reopener: &Reopener) -> Result<OwnedFd, Errno> {
        if flags & libc::O_DIRECT != 0 {
            return Err(Errno::EINVAL);
        }
        self.handed_out = match flags & libc::O_ACCMODE {
            libc::O_RDWR | libc::O_WRONLY => HandedOut::Writer,
            libc::O_RDONLY => {
                self.file = reopener.reopen(self.file.as_fd(), OFlag::O_RDWR)?;
                HandedOut::Reader
            }
            _ => HandedOut::Uncounted,
        };
        reopener.reopen(self.file.as_fd(), OFlag::from_bits_retain(flags & KEPT))
    }

    /// Makes the area: `words` zero words that nobody can resize.
    ///
    /// Until here the tenant may have written to the file, resized or sealed it; afterwards size and seals are
    /// verified, whatever it does meanwhile.
    ///
    /// # Errors
    /// `EPERM` if seals of the tenant's stand in the way; `ENOMEM` if the size cannot be had.
    pub fn size(&mut self, words: u64) -> Result<(), Errno> {
        let bytes = words * abi::WORD;
        match ftruncate(&self.file, bytes as libc::off_t) {
            Err(Errno::EFBIG | Errno::EINVAL | Errno::ENOSPC) => return Err(Errno::ENOMEM),
            other => other?,
        }
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(SEALS))?;
        let seals = fcntl(&self.file, FcntlArg::F_GET_SEALS)?;
        let facts = fstat(&self.file)?;
        if seals & !SEAL_EXEC != SEALS.bits() || u64::try_from(facts.st_size) != Ok(bytes) {
            return Err(Errno::EPERM);
        }
        self.bytes = bytes;
        if facts.st_blocks != 0 {
            // The tenant wrote before the size was set: a hole is zero again, and seals do not stop it.
            self.empty();
        }
        Ok(())
    }

    /// Lets nobody store anything in it: a file of a handler's device, which is no memory.
    ///
    /// # Errors
    /// As `fcntl(2)`.
    pub fn shut(&self) -> Result<(), Errno> {
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(SEALS | SealFlag::F_SEAL_WRITE)).map(drop)
    }

    /// Whether a description with access mode 3 is out.
    #[must_use]
    pub fn is_uncounted(&self) -> bool {
        self.handed_out == HandedOut::Uncounted
    }

    /// A description that cannot write was closed.
    pub fn uncounted_closed(&mut self) {
        // Re-opens of an arena are instances of their own, so this was the only description of this file, unless the
        // tenant raced or went round the filter, which is its own loss.
        self.handed_out = HandedOut::Writer;
    }

    /// Whether the tenant has no description and no mapping left. After a yes the arena is to be dropped, or
    /// [kept](Self::keep).
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

    /// The arena is to stay although the tenant has no description left: a thread owns the instance.
    pub fn keep(&self) {
        // A lease that stays would hold up who opens the file through procfs, as the tenant itself can.
        let _ = memfd::give_back(self.file.as_fd());
    }

    /// Appends the record that an `ENABLE` leaves, where the count stands, by the rules of [`kcov_proto::area`]. The
    /// thread that was just enabled is in this very call, so nobody else appends. Says whether there was room.
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

    /// Gives the memory back although workers may still have it mapped.
    pub fn empty(&self) {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // A file that cannot be punched is freed when the last worker unmaps it.
        let _ = fallocate(&self.file, hole, 0, self.bytes as libc::off_t);
    }
}
