//! Accesses the memory of a caller with the same results as the kernel in a system call.
//!
//! `process_vm_readv(2)` checks the permissions of the mapping, but `copy_from_user` only the page tables. Both supported
//! architectures can read pages that are mapped write-only, so the kernel can too. If a read fails, such mappings are
//! looked up in `/proc/PID/maps` and read through `/proc/PID/mem`.

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::ffi::CStr;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Length of the first read of a string: longer than most paths, and at most two pages.
const STRING_FIRST: usize = 256;
/// Smallest page size of the supported architectures: reads are split where a mapping may end.
const PAGE: u64 = 4096;

/// Reads all of `buffer` from the memory of `tid` at `address`.
///
/// # Errors
/// `EFAULT` if any byte is not readable.
pub(super) fn read(tid: u32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    if buffer.is_empty() {
        return Ok(());
    }
    let (base, wanted) = (remote_address(address)?, buffer.len());
    let remote = [RemoteIoVec { base, len: wanted }];
    match process_vm_readv(task(tid)?, &mut [IoSliceMut::new(buffer)], &remote) {
        Ok(read) if read == wanted => Ok(()),
        Ok(_) | Err(Errno::EFAULT) => read_write_only(tid, address, buffer),
        Err(errno) => Err(errno),
    }
}

/// Writes `bytes` to the memory of `tid` at `address`.
///
/// # Errors
/// `EFAULT` if any byte is not writable; the bytes before it may have been written.
pub(super) fn write(tid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let remote = [RemoteIoVec { base: remote_address(address)?, len: bytes.len() }];
    match process_vm_writev(task(tid)?, &[IoSlice::new(bytes)], &remote)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Reads a NUL-terminated string into `buffer`, whose length is the limit, NUL included.
///
/// # Errors
/// `EFAULT` if readable memory ends before the string, `ENAMETOOLONG` if the string is longer than the limit.
pub(super) fn read_string(tid: u32, address: u64, buffer: &mut [u8]) -> Result<&CStr, Errno> {
    let (bound, mut filled) = (buffer.len(), 0);
    while filled < bound {
        let goal = if filled == 0 { STRING_FIRST.min(bound) } else { bound };
        let at = address.checked_add(filled as u64).ok_or(Errno::EFAULT)?;
        let end = filled + read_up_to(tid, at, &mut buffer[filled..goal])?;
        if buffer[filled..end].contains(&0) {
            return CStr::from_bytes_until_nul(&buffer[..end]).map_err(|_| Errno::EFAULT);
        }
        filled = end;
    }
    Err(Errno::ENAMETOOLONG)
}

/// Reads at least one byte into `buffer`, up to the first page that is not readable. `process_vm_readv(2)` may stop only
/// between elements of the remote vector, so the elements are split at a page boundary.
fn read_up_to(tid: u32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let first = (PAGE - address % PAGE).min(buffer.len() as u64) as usize;
    let second = address.checked_add(first as u64).ok_or(Errno::EFAULT)?;
    let remote = [
        RemoteIoVec { base: remote_address(address)?, len: first },
        RemoteIoVec { base: remote_address(second)?, len: buffer.len() - first },
    ];
    let pieces = if buffer.len() == first { &remote[..1] } else { &remote[..] };
    match process_vm_readv(task(tid)?, &mut [IoSliceMut::new(buffer)], pieces) {
        Ok(0) | Err(Errno::EFAULT) => read_write_only(tid, address, &mut buffer[..first]).map(|()| first),
        read => read,
    }
}

/// Like [`read`], for memory that may be mapped write-only.
fn read_write_only(tid: u32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let end = address.checked_add(buffer.len() as u64).ok_or(Errno::EFAULT)?;
    let maps = File::open(format!("/proc/{tid}/maps")).map_err(|_| Errno::EFAULT)?;
    if !is_accessible(BufReader::new(maps), address..end) {
        return Err(Errno::EFAULT);
    }
    // Reads of this file ignore the mapping's permissions, hence the check above.
    let memory = File::open(format!("/proc/{tid}/mem")).map_err(|_| Errno::EFAULT)?;
    memory.read_exact_at(buffer, address).map_err(|_| Errno::EFAULT)
}

/// Returns whether all of `range` is mapped readable or writable. `maps` is the text of `/proc/PID/maps`, which is
/// sorted by address.
fn is_accessible(maps: impl BufRead, range: Range<u64>) -> bool {
    let mut reached = range.start;
    for line in maps.lines() {
        let Some((start, end, accessible)) = line.ok().as_deref().and_then(mapping) else { return false };
        if start > reached {
            return false;
        }
        if end > reached {
            if !accessible {
                return false;
            }
            reached = end;
        }
        if reached >= range.end {
            return true;
        }
    }
    false
}

/// Parses a line like `7f0000000000-7f0000001000 -w-p ...`: start, end, and whether it is readable or writable.
fn mapping(line: &str) -> Option<(u64, u64, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?, permissions.starts_with('r') || permissions.get(1..2) == Some("w")))
}

fn task(tid: u32) -> Result<Pid, Errno> {
    i32::try_from(tid).map(Pid::from_raw).map_err(|_| Errno::ESRCH)
}

fn remote_address(address: u64) -> Result<usize, Errno> {
    usize::try_from(address).map_err(|_| Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-2000 r--p 00000000 00:00 0 \n\
2000-3000 -w-p 00000000 00:00 0 \n\
3000-4000 ---p 00000000 00:00 0 \n\
5000-6000 rw-p 00000000 00:00 0  a name - with blanks\n\
6000-7000 --xp 00000000 00:00 0 \n";

    #[test]
    fn the_whole_range_must_be_readable_or_writable() {
        for range in [0x1000..0x1001, 0x1fff..0x2001, 0x2000..0x3000, 0x1000..0x3000, 0x5800..0x6000] {
            assert!(is_accessible(MAPS.as_bytes(), range.clone()), "{range:x?}");
        }
        for range in
            [0xfff..0x1001, 0x2fff..0x3001, 0x3000..0x3001, 0x4000..0x5001, 0x6000..0x6001, 0x7000..0x7001]
        {
            assert!(!is_accessible(MAPS.as_bytes(), range.clone()), "{range:x?}");
        }
        assert!(!is_accessible(&b"no map\n"[..], 0..1));
    }
}
