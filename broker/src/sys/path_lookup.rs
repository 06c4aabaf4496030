//! `openat2(2)` with `O_PATH`, for a process that must not be able to use it for anything else.
//!
//! The flags of `openat2` are in memory, where no filter can check them. So all structures that are ever passed
//! are in one page at a fixed address: a filter compares the pointer with [`HOW`]. The page is read-only, and
//! sealed where the kernel can do that (`mseal`, Linux 6.10): then not even an attacker who controls the process
//! can change, replace or remove it.

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};
use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Address of the page: below programs, libraries, heap and stack of a process whose addresses are random, for
/// all sizes of the address space (39 bits or more).
const ADDRESS: usize = 0x10_0000_0000;
/// Bytes of the page that is mapped: a page or more, on every machine.
const BYTES: usize = 1 << 16;
/// Bytes from one structure to the next.
const STRIDE: usize = 32;
/// `RESOLVE_*` that a structure can have: `NO_XDEV`, `NO_MAGICLINKS`, `NO_SYMLINKS`, `BENEATH`, `IN_ROOT`, which
/// are the lowest bits (`include/uapi/linux/openat2.h`).
const RESOLVE: u64 = 0x1f;
/// Structures: one for each combination of `RESOLVE` and `O_NOFOLLOW`.
const STRUCTURES: usize = 64;
/// Number of `mseal`, on all machines.
const SYS_MSEAL: libc::c_long = 462;

/// The bits of a pointer to a structure, as a mask and a value.
pub const HOW: (u64, u64) = (!((STRUCTURES * STRIDE - STRIDE) as u64), ADDRESS as u64);
/// Size that is passed with a structure (`OPEN_HOW_SIZE_VER0`).
pub const SIZE: u64 = size_of::<How>() as u64;

/// `struct open_how`.
#[repr(C)]
#[derive(Clone, Copy)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path`, relative to `directory`, with `O_PATH`, these `RESOLVE_*`, and `O_NOFOLLOW` unless `follow`.
///
/// # Errors
/// As `openat2(2)`; `EINVAL` for other `RESOLVE_*`; those of [`prepare`].
pub fn open(directory: BorrowedFd<'_>, path: &CStr, resolve: u64, follow: bool) -> Result<OwnedFd, Errno> {
    if resolve & !RESOLVE != 0 {
        return Err(Errno::EINVAL);
    }
    prepare()?;
    let how = ADDRESS + (resolve as usize | usize::from(!follow) << 5) * STRIDE;
    // SAFETY: `path` is NUL-terminated. `how` is inside of the page, which `prepare` has mapped and filled; it is
    // never unmapped.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, directory.as_raw_fd(), path.as_ptr(), how, SIZE) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes the page, once. Children inherit it with its seal.
///
/// # Errors
/// As `mmap(2)`: `EEXIST` if something else is at the address.
pub fn prepare() -> Result<(), Errno> {
    static PREPARED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *PREPARED.get_or_init(make)
}

fn make() -> Result<(), Errno> {
    const WRITABLE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);
    let (address, length) = (NonZeroUsize::new(ADDRESS), NonZeroUsize::new(BYTES).ok_or(Errno::EINVAL)?);
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping.
    let page: NonNull<How> = unsafe { mmap_anonymous(address, length, WRITABLE, flags) }?.cast();
    for index in 0..STRUCTURES {
        let follow = if index as u64 & (RESOLVE + 1) == 0 { 0 } else { libc::O_NOFOLLOW };
        let flags = (libc::O_PATH | libc::O_CLOEXEC | follow) as u64;
        let how = How { flags, mode: 0, resolve: index as u64 & RESOLVE };
        // SAFETY: the index is below STRUCTURES, and STRUCTURES * STRIDE bytes are in the mapping, which only
        // this function knows so far.
        unsafe { page.byte_add(index * STRIDE).write(how) };
    }
    // SAFETY: the mapping is this function's own.
    unsafe { mprotect(page.cast(), BYTES, ProtFlags::PROT_READ) }?;
    // SAFETY: three integers. ENOSYS before Linux 6.10.
    let _ = unsafe { libc::syscall(SYS_MSEAL, ADDRESS, BYTES, 0) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn paths_are_opened_as_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("x", directory.path().join("link")).expect("symlink");
        std::fs::write(directory.path().join("x"), "").expect("write");
        let top = File::open(directory.path()).expect("open");
        let open = |path, resolve, follow| open(top.as_fd(), path, resolve, follow);
        let file = open(c"link", libc::RESOLVE_BENEATH, true).expect("the file");
        let flags = fcntl(&file, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate);
        assert!(flags.is_ok_and(|flags| flags.contains(OFlag::O_PATH)));
        assert!(open(c"link", libc::RESOLVE_BENEATH, false).is_ok(), "the link itself");
        assert_eq!(open(c"link", libc::RESOLVE_NO_SYMLINKS, true).err(), Some(Errno::ELOOP));
        assert_eq!(open(c"..", libc::RESOLVE_BENEATH, true).err(), Some(Errno::EXDEV));
        assert_eq!(open(c"x", 1 << 5, true).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn the_page_cannot_be_changed() {
        prepare().expect("a page");
        let page = NonNull::new(std::ptr::without_provenance_mut(ADDRESS)).expect("an address");
        // SAFETY: if it succeeds, the page stays readable.
        let changed = unsafe { mprotect(page, BYTES, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) };
        // SAFETY: integers only, and no structure.
        let is_old = unsafe { libc::syscall(SYS_MSEAL, 0, 0, 0) } != 0 && Errno::last() == Errno::ENOSYS;
        assert!(is_old || changed == Err(Errno::EPERM), "{changed:?}");
    }
}
