//! System calls that the standard library lacks. All unsafe code of the fuzzer is here.

use crate::kcov::Mode;
use nix::errno::Errno;
use nix::libc::{self, c_ulong};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Requests of include/uapi/linux/kcov.h. `KCOV_INIT_TRACE` is declared as reading a word, but takes its
/// argument by value.
mod request {
    use super::c_ulong;
    nix::ioctl_write_int_bad!(init_trace, nix::request_code_read!(b'c', 1, size_of::<c_ulong>()));
    nix::ioctl_write_int_bad!(enable, nix::request_code_none!(b'c', 100));
    nix::ioctl_write_int_bad!(disable, nix::request_code_none!(b'c', 101));
}

pub fn init_trace(kcov: &File, words: usize) -> nix::Result<()> {
    let words = i32::try_from(words).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the request takes its argument by value.
    unsafe { request::init_trace(kcov.as_raw_fd(), words) }.map(drop)
}

pub fn enable(kcov: &File, mode: Mode) -> nix::Result<()> {
    let mode = match mode {
        Mode::Pc => 0,
        Mode::Cmp => 1,
    };
    // SAFETY: the request takes its argument by value.
    unsafe { request::enable(kcov.as_raw_fd(), mode) }.map(drop)
}

pub fn disable(kcov: &File) -> nix::Result<()> {
    // SAFETY: the request takes its argument by value.
    unsafe { request::disable(kcov.as_raw_fd(), 0) }.map(drop)
}

/// Makes an `ioctl` request on the device.
pub fn ioctl(device: &File, request: u32, argument: u64) -> nix::Result<libc::c_int> {
    // SAFETY: the argument is a number, or the address of a mapping that is used for nothing else.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), c_ulong::from(request), argument) };
    Errno::result(result)
}

/// Shared or private memory, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    bytes: NonZero<usize>,
}

impl Mapping {
    /// Maps the whole area of a KCOV instance.
    pub fn of_file(kcov: &File, words: usize) -> nix::Result<Self> {
        let bytes = NonZero::new(words * 8).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, of which only atomic words are used.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, kcov, 0) }?;
        Ok(Mapping { start: start.cast(), bytes })
    }

    /// Maps private memory at a fixed address, with nothing mapped behind it.
    pub fn at(address: NonZero<usize>, bytes: NonZero<usize>) -> nix::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping; MAP_FIXED_NOREPLACE replaces no other.
        let start = unsafe { mmap_anonymous(Some(address), bytes, protection, flags) }?;
        Ok(Mapping { start: start.cast(), bytes })
    }

    /// The mapped words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `bytes` are mapped from `start`, which is page-aligned, for as long as `self` lives. The
        // words are atomic, so concurrent writes by others are fine.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.bytes.get() / 8) }
    }

    /// Start address.
    pub fn address(&self) -> u64 {
        self.start.addr().get() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the mapping any more.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}
