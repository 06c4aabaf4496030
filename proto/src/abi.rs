//! Numbers and checks of the KCOV ABI (include/uapi/linux/kcov.h and kernel/kcov.c of Linux 6.12).

use crate::errno::Errno;
use serde::{Deserialize, Serialize};

/// `_IOR('c', 1, unsigned long)`: allocates the area; the argument is its size in words.
pub const INIT_TRACE: u32 = 0x8008_6301;
/// `_IO('c', 100)`: starts collecting coverage of the calling thread.
pub const ENABLE: u32 = 0x6364;
/// `_IO('c', 101)`: stops collecting.
pub const DISABLE: u32 = 0x6365;
/// `_IOW('c', 102, struct kcov_remote_arg)`: starts collecting coverage of background work that is marked
/// with handles.
pub const REMOTE_ENABLE: u32 = 0x4018_6366;
/// `_IOW('c', 103, unsigned long)`: proposed upstream; as `ENABLE`, but collects each PC once. The argument is
/// the size in words of the bitmap of collected points at the start of the area.
pub const UNIQUE_ENABLE: u32 = 0x4008_6367;
/// `_IO('c', 104)`: proposed upstream; sets the count to 0.
pub const RESET_TRACE: u32 = 0x6368;

/// Smallest area in words: the count and one record (`kcov_ioctl_locked`).
pub const AREA_WORDS_MIN: u64 = 2;
/// Largest area in words: `INT_MAX / sizeof(unsigned long)` (`kcov_ioctl_locked`).
pub const AREA_WORDS_MAX: u64 = 0x0fff_ffff;
/// Size of a word in bytes.
pub const WORD: u64 = 8;
/// Size of a comparison record in words: type, arg1, arg2, pc (`KCOV_WORDS_PER_CMP`).
pub const CMP_WORDS: u64 = 4;

/// Most handles in one `REMOTE_ENABLE` (`KCOV_REMOTE_MAX_HANDLES`).
pub const REMOTE_MAX_HANDLES: u32 = 256;
/// Size in bytes of `struct kcov_remote_arg` without its `handles[]`.
pub const REMOTE_ARG_BYTES: usize = 24;
/// Offset in bytes of `num_handles` in `struct kcov_remote_arg`.
pub const REMOTE_NUM_HANDLES_OFFSET: usize = 8;

/// `KCOV_SUBSYSTEM_USB`: the subsystem byte of a USB handle.
const SUBSYSTEM_USB: u64 = 0x01 << 56;
const SUBSYSTEM_MASK: u64 = 0xff << 56;
const INSTANCE_MASK: u64 = 0xffff_ffff;

/// Returns whether `request` is a request of the KCOV device.
#[must_use]
pub fn is_kcov_request(request: u32) -> bool {
    matches!(request, INIT_TRACE | ENABLE | DISABLE | REMOTE_ENABLE | UNIQUE_ENABLE | RESET_TRACE)
}

/// Name of a KCOV request for logs; `unknown` for others.
#[must_use]
pub fn request_name(request: u32) -> &'static str {
    match request {
        INIT_TRACE => "INIT_TRACE",
        ENABLE => "ENABLE",
        DISABLE => "DISABLE",
        REMOTE_ENABLE => "REMOTE_ENABLE",
        UNIQUE_ENABLE => "UNIQUE_ENABLE",
        RESET_TRACE => "RESET_TRACE",
        _ => "unknown",
    }
}

/// What an enabled instance collects (`enum kcov_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TraceMode {
    /// `KCOV_TRACE_PC`: one word for each covered point.
    Pc,
    /// `KCOV_TRACE_CMP`: four words for each comparison.
    Cmp,
}

impl TraceMode {
    /// The mode in an `ENABLE` argument. All 64 bits count (`kcov_get_mode`).
    ///
    /// # Errors
    /// `EINVAL` for any value but 0 and 1.
    pub fn from_arg(arg: u64) -> Result<Self, Errno> {
        match arg {
            0 => Ok(TraceMode::Pc),
            1 => Ok(TraceMode::Cmp),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Name in logs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TraceMode::Pc => "pc",
            TraceMode::Cmp => "cmp",
        }
    }
}

/// Returns whether `handle` is allowed in `handles[]` of `REMOTE_ENABLE`: a USB handle without reserved bits;
/// instance 0 is allowed (`kcov_check_handle(handle, false, true, false)`).
#[must_use]
pub fn is_global_handle(handle: u64) -> bool {
    handle & SUBSYSTEM_MASK == SUBSYSTEM_USB && handle & !(SUBSYSTEM_MASK | INSTANCE_MASK) == 0
}

/// Returns whether `handle` is allowed as `common_handle` (`kcov_check_handle(handle, true, false, false)`).
#[must_use]
pub fn is_common_handle(handle: u64) -> bool {
    handle & !INSTANCE_MASK == 0 && handle != 0
}

/// `struct kcov_remote_arg`, copied from the caller's memory. The field values are unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteArg {
    /// Mode; valid are 0 and 1.
    pub trace_mode: u32,
    /// Size in words of the private buffer for remote sections. Any value is accepted.
    pub area_size: u32,
    /// Common handle; 0 for none.
    pub common_handle: u64,
    /// Global handles.
    pub handles: Vec<u64>,
}

impl RemoteArg {
    /// Decodes the bytes of the structure. `expected` is the value of `num_handles` in an earlier read, which
    /// determined how many bytes were copied.
    ///
    /// # Errors
    /// `EINVAL` if `num_handles` has changed since (`kcov_ioctl`), is above [`REMOTE_MAX_HANDLES`], or does
    /// not match the number of bytes.
    pub fn decode(bytes: &[u8], expected: u32) -> Result<Self, Errno> {
        let u32_at =
            |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        let u64_at =
            |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
        let number = u32_at(REMOTE_NUM_HANDLES_OFFSET).ok_or(Errno::EINVAL)?;
        let length = REMOTE_ARG_BYTES + 8 * expected as usize;
        if number != expected || number > REMOTE_MAX_HANDLES || bytes.len() != length {
            return Err(Errno::EINVAL);
        }
        Ok(RemoteArg {
            trace_mode: u32_at(0).ok_or(Errno::EINVAL)?,
            area_size: u32_at(4).ok_or(Errno::EINVAL)?,
            common_handle: u64_at(16).ok_or(Errno::EINVAL)?,
            handles: (0..number as usize)
                .map(|i| u64_at(REMOTE_ARG_BYTES + 8 * i).ok_or(Errno::EINVAL))
                .collect::<Result<_, _>>()?,
        })
    }
}
