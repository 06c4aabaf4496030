//! The caller of the call that a handler has: its memory.

use crate::call::Call;
use kcov_proto::Errno;
use kcov_proto::message::{MAX_READ, MAX_WRITE};

/// Most bytes that one read or write of a handler moves: it is done in pieces, and in memory of the worker.
pub const MOST: usize = 16 * 1024 * 1024;
/// Bytes that a string is read in at a time; no read crosses a page for it.
const STRING_PIECE: u64 = 4096;

/// The way to the caller's memory.
pub(crate) trait Port {
    /// `length` bytes at `address`, at most [`MAX_READ`]: all or nothing.
    fn read(&mut self, call: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno>;

    /// Writes `bytes`, at most [`MAX_WRITE`].
    fn write(&mut self, call: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno>;
}

/// The caller of the call that a handler has, for as long as it has it.
pub struct Caller<'a> {
    call: &'a Call,
    port: &'a mut dyn Port,
}

impl std::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("call", self.call).finish_non_exhaustive()
    }
}

impl<'a> Caller<'a> {
    pub(crate) fn new(call: &'a Call, port: &'a mut dyn Port) -> Self {
        Caller { call, port }
    }

    /// The calling thread, as the broker's machine numbers it.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.call.tid
    }

    /// Fills `buffer` from the caller's memory, all or nothing.
    ///
    /// The caller's other threads may write there at any time: what must not change between a check and its use is read
    /// once.
    ///
    /// # Errors
    /// `EFAULT` if it is not mapped or not readable; `EINVAL` over [`MOST`] bytes; `ENOMEM` over the tenant's quotas of
    /// such reads and writes; `EIO` if it cannot be had within the deadline.
    pub fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        if buffer.len() > MOST {
            return Err(Errno::EINVAL);
        }
        let mut from = address;
        for piece in buffer.chunks_mut(MAX_READ) {
            let bytes = self.port.read(self.call, from, piece.len() as u32)?;
            if bytes.len() != piece.len() {
                return Err(Errno::EIO);
            }
            piece.copy_from_slice(&bytes);
            from = from.checked_add(piece.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// `length` bytes of the caller's memory.
    ///
    /// # Errors
    /// As [`read`](Self::read), before anything is allocated.
    pub fn read_vec(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        if length > MOST {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// As many bytes of the caller's memory as an array has: for `u32::from_ne_bytes` and its like.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_array<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A string up to its NUL, which is left out; `most` bytes at most with it.
    ///
    /// # Errors
    /// `ENAMETOOLONG` if there is no NUL within them; else as [`read`](Self::read).
    pub fn read_string(&mut self, address: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut from = address;
        while text.len() < most.min(MOST) {
            // Up to the end of the page: the next one may not be mapped, and need not be.
            let in_page = (STRING_PIECE - from % STRING_PIECE) as usize;
            let length = in_page.min(most - text.len());
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

    /// Writes to the caller's memory. On an error the first part may have been written, as with the kernel's
    /// `copy_to_user`.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EFAULT` if it is not writable.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > MOST {
            return Err(Errno::EINVAL);
        }
        let mut to = address;
        for piece in bytes.chunks(MAX_WRITE) {
            self.port.write(self.call, to, piece)?;
            to = to.checked_add(piece.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }
}
