//! Reads and checks a caller's `struct open_how`, as `openat2` does before it resolves the path.

use super::caller_memory;
use nix::libc;

/// Size of the structure, in bytes (`OPEN_HOW_SIZE_VER0`).
const BYTES: usize = 24;
/// Maximum size that a caller may pass, in bytes: a page (`openat2`, `fs/open.c`).
const MAX_BYTES: u64 = 4096;
/// `VALID_OPEN_FLAGS` (`include/linux/fcntl.h`); `O_LARGEFILE` is 0 to a 64-bit C library.
const FLAGS: i32 = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_ASYNC
    | libc::O_DIRECT
    | LARGEFILE
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | libc::O_TMPFILE;
/// `O_LARGEFILE` of the kernel.
const LARGEFILE: i32 = if cfg!(target_arch = "aarch64") { 0o400_000 } else { 0o100_000 };
/// `VALID_RESOLVE_FLAGS`.
const RESOLVE: u64 = libc::RESOLVE_NO_XDEV
    | libc::RESOLVE_NO_MAGICLINKS
    | libc::RESOLVE_NO_SYMLINKS
    | libc::RESOLVE_BENEATH
    | libc::RESOLVE_IN_ROOT
    | libc::RESOLVE_CACHED;
/// Mode bits of a new file (`S_IALLUGO`).
const MODE: u64 = 0o7777;

/// The checked structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenHow {
    pub(super) flags: i32,
    pub(super) resolve: u64,
}

/// Reads the structure of `size` bytes at `address`; `None` if the kernel would refuse it or it cannot be read.
pub(super) fn read(tid: u32, address: u64, size: u64) -> Option<OpenHow> {
    let size = usize::try_from(size).ok().filter(|_| size <= MAX_BYTES)?;
    let mut bytes = vec![0; size];
    caller_memory::read(tid, address, &mut bytes).ok()?;
    check(&bytes)
}

/// The checks of `copy_struct_from_user` and `build_open_flags` (`fs/open.c`, Linux 6.12) that matter for an open of an
/// existing file.
fn check(bytes: &[u8]) -> Option<OpenHow> {
    let (known, rest) = bytes.split_at_checked(BYTES)?;
    let word = |i: usize| known[8 * i..].first_chunk().map(|word| u64::from_ne_bytes(*word));
    let (flags, mode, resolve) = (word(0)?, word(1)?, word(2)?);
    let flags = i32::try_from(flags).ok().filter(|flags| flags & !FLAGS == 0)?;
    let modes = if flags & libc::O_CREAT != 0 { MODE } else { 0 };
    let is_known = mode & !modes == 0 && resolve & !RESOLVE == 0;
    // A lookup with RESOLVE_CACHED must not modify anything.
    let is_cached_only = resolve & libc::RESOLVE_CACHED == 0 || flags & (libc::O_TRUNC | libc::O_CREAT) == 0;
    let is_zero = rest.iter().all(|&byte| byte == 0);
    (is_known && is_cached_only && is_zero).then_some(OpenHow { flags, resolve })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(flags: u64, mode: u64, resolve: u64, rest: &[u8]) -> Vec<u8> {
        let words = [flags, mode, resolve].map(u64::to_ne_bytes);
        [words.as_flattened(), rest].concat()
    }

    #[test]
    fn valid_structures_are_accepted() {
        let flags = libc::O_RDWR | libc::O_CLOEXEC;
        for (mode, resolve, rest) in
            [(0, 0, &[][..]), (0, libc::RESOLVE_IN_ROOT, &[0; 8]), (0, RESOLVE, &[0])]
        {
            let how = check(&bytes(flags as u64, mode, resolve, rest));
            assert_eq!(how, Some(OpenHow { flags, resolve }), "{mode:#o} {resolve:#x} {rest:?}");
        }
        let creating = check(&bytes((flags | libc::O_CREAT) as u64, 0o600, 0, &[]));
        assert_eq!(creating.map(|how| how.flags), Some(flags | libc::O_CREAT));
    }

    #[test]
    fn invalid_structures_are_left_to_the_kernel() {
        let cached = libc::RESOLVE_CACHED;
        for (flags, mode, resolve, rest) in [
            (1 << 31, 0, 0, &[][..]),
            (1 << 32, 0, 0, &[]),
            (0, 0o600, 0, &[]),
            (libc::O_CREAT as u64, 0o10_000, 0, &[]),
            (0, 0, 1 << 6, &[]),
            (libc::O_TRUNC as u64, 0, cached, &[]),
            (0, 0, 0, &[0, 0, 1]),
        ] {
            let how = bytes(flags, mode, resolve, rest);
            assert_eq!(check(&how), None, "{flags:#x} {mode:#o} {resolve:#x} {rest:?}");
        }
        assert_eq!(check(&[0; BYTES - 1]), None);
    }

    #[test]
    fn a_structure_larger_than_a_page_is_not_read() {
        let how = [0_u8; MAX_BYTES as usize + 1];
        let address = how.as_ptr() as u64;
        assert!(read(std::process::id(), address, MAX_BYTES).is_some());
        assert_eq!(read(std::process::id(), address, MAX_BYTES + 1), None);
        assert_eq!(read(std::process::id(), address, 0), None);
    }
}
