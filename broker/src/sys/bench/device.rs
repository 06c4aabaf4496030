//! A client's view of a KCOV device: thin wrappers of the calls that clients make, for timing.

use kcov_proto::abi;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::Mode;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;

/// One open KCOV instance.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device with `O_RDWR` only, as syzkaller's executor does.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path) -> nix::Result<Device> {
        open(path, OFlag::O_RDWR, Mode::empty()).map(Device)
    }

    /// Sets the size of the area, in words.
    ///
    /// # Errors
    /// Those of the device (`kcov_ioctl`, `kernel/kcov.c`).
    pub fn init(&self, words: u64) -> nix::Result<()> {
        self.ioctl(abi::INIT_TRACE, words)
    }

    /// Collects the PCs of this thread.
    ///
    /// # Errors
    /// Those of the device.
    pub fn enable(&self) -> nix::Result<()> {
        self.ioctl(abi::ENABLE, 0)
    }

    /// Stops collecting.
    ///
    /// # Errors
    /// Those of the device.
    pub fn disable(&self) -> nix::Result<()> {
        self.ioctl(abi::DISABLE, 0)
    }

    /// Maps the area, shared and writable.
    ///
    /// # Errors
    /// Those of `mmap(2)` and of the device.
    pub fn map(&self, bytes: NonZeroUsize) -> nix::Result<Mapping> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses free addresses, so no memory of ours is replaced.
        let address = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, &self.0, 0) }?;
        Ok(Mapping { address, bytes })
    }

    fn ioctl(&self, request: u32, arg: u64) -> nix::Result<()> {
        // SAFETY: INIT_TRACE, ENABLE and DISABLE take their argument by value; no memory is passed.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request.into(), arg) };
        Errno::result(result).map(drop)
    }
}

/// A mapped area. Nothing touches it, so that the benchmark measures the device and not page faults of its
/// client.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<c_void>,
    bytes: NonZeroUsize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Mapping { address, bytes } = *self;
        // SAFETY: exactly what `Device::map` mapped, which hands out no reference.
        // Fails only for an invalid range.
        let _ = unsafe { munmap(address, bytes.get()) };
    }
}
