//! Access of a handler to the memory of its caller.

use crate::call::Call;
use kcov_proto::Errno;
use kcov_proto::message::{MAX_READ, MAX_WRITE};

/// Most bytes in one read or write of a handler. It is done in pieces, but buffered in memory of the worker.
pub const MAX_TRANSFER: usize = 16 * 1024 * 1024;
/// Page size: a string is read page by page, so that no read fails because of a page behind the string.
const STRING_PIECE: u64 = 4096;

/// Reads and writes the memory of the calling process.
pub(crate) trait CallerMemory {
    /// Reads `length` bytes at `address`, at most [`MAX_READ`]: all or nothing.
    fn read(&mut self, call: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno>;

    /// Writes `bytes`, at most [`MAX_WRITE`].
    fn write(&mut self, call: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// The common handle of the calling thread, 0 if it has none.
    fn common_handle(&mut self, _: &Call) -> u64 {
        0
    }
}

/// The caller of a call, for as long as a handler has the call.
pub struct Caller<'a> {
    call: &'a Call,
    memory: &'a mut dyn CallerMemory,
}

impl std::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("call", self.call).finish_non_exhaustive()
    }
}

impl<'a> Caller<'a> {
    pub(crate) fn new(call: &'a Call, memory: &'a mut dyn CallerMemory) -> Self {
        Caller { call, memory }
    }

    /// Id of the calling thread, in the broker's PID namespace.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.call.tid
    }

    /// The common handle of the calling thread (`kcov_common_handle`), for a [remote](crate::remote) section
    /// that does work for it later; 0 if it has none.
    ///
    /// Threads and processes inherit it from the thread that creates them. If the calls that create them are
    /// not traced, it is taken from the parent at the first call of this function for them: a process gets
    /// that of the thread that has created it, a thread that of the first thread of its process. A change
    /// before that call is not known.
    #[must_use]
    pub fn common_handle(&mut self) -> u64 {
        self.memory.common_handle(self.call)
    }

    /// Fills `buffer` from the caller's memory, all or nothing.
    ///
    /// Other threads of the caller can change the memory at any time. So read once what must not change
    /// between check and use.
    ///
    /// # Errors
    /// `EFAULT` if the memory is not mapped or not readable; `EINVAL` for more than [`MAX_TRANSFER`] bytes;
    /// `ENOMEM` over the tenant's quota for such accesses; `EIO` if the reader or the broker does not answer.
    pub fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        if buffer.len() > MAX_TRANSFER {
            return Err(Errno::EINVAL);
        }
        let mut from = address;
        for piece in buffer.chunks_mut(MAX_READ) {
            let bytes = self.memory.read(self.call, from, piece.len() as u32)?;
            if bytes.len() != piece.len() {
                return Err(Errno::EIO);
            }
            piece.copy_from_slice(&bytes);
            from = from.checked_add(piece.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// Reads `length` bytes of the caller's memory.
    ///
    /// # Errors
    /// As [`read`](Self::read). The length is checked before anything is allocated.
    pub fn read_vec(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        if length > MAX_TRANSFER {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads an array of bytes, for `u32::from_ne_bytes` and similar functions.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_array<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL. Returns it without the NUL.
    ///
    /// # Errors
    /// `ENAMETOOLONG` if there is no NUL within `max` bytes; else as [`read`](Self::read).
    pub fn read_string(&mut self, address: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut from = address;
        while text.len() < max.min(MAX_TRANSFER) {
            // Only to the end of the page: the next page may not be mapped, and may not be needed.
            let in_page = (STRING_PIECE - from % STRING_PIECE) as usize;
            let length = in_page.min(max - text.len());
            let bytes = self.read_vec(from, length)?;
            if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
                text.extend(&bytes[..end]);
                return Ok(text);
            }
            text.extend(bytes);
            from = from.checked_add(length as u64).ok_or(Errno::EFAULT)?;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Writes to the caller's memory. On an error a first part may have been written, as with the kernel's
    /// `copy_to_user`.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EFAULT` also if the memory is not writable.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > MAX_TRANSFER {
            return Err(Errno::EINVAL);
        }
        let mut to = address;
        for piece in bytes.chunks(MAX_WRITE) {
            self.memory.write(self.call, to, piece)?;
            to = to.checked_add(piece.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }
}
