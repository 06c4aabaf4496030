//! A BPF program as the kernel takes it.

use super::{FilterError, library};
use libseccomp::ScmpFilterContext;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek};

/// Bytes of a `struct sock_filter`.
const INSTRUCTION: usize = 8;
/// Most instructions of a program (`BPF_MAXINSNS`, `include/uapi/linux/bpf_common.h`).
const MOST: usize = 4096;
/// Offset of the number in `struct seccomp_data`.
const NUMBER: u32 = 0;

/// A program of 1 to 4096 instructions for `seccomp(2)`. What it does is the kernel's to check.
#[derive(Clone)]
pub struct Bpf(Box<[libc::sock_filter]>);

impl Bpf {
    /// The program that libseccomp makes of `context`.
    ///
    /// # Errors
    /// If libseccomp cannot write it or it is too long.
    pub fn export(context: &ScmpFilterContext) -> Result<Self, FilterError> {
        // Through a file, as libseccomp exports to memory only from 2.6 on.
        let mut file = File::from(
            memfd_create("filter", MFdFlags::MFD_CLOEXEC)
                .map_err(|errno| FilterError::Export(errno.into()))?,
        );
        context.export_bpf(&file).map_err(library("export"))?;
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(FilterError::Export)?;
        Self::decode(&bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, FilterError> {
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
        match rest.is_empty() && (1..=MOST).contains(&instructions.len()) {
            true => Ok(Bpf(instructions.iter().map(|i| instruction(*i)).collect())),
            false => Err(FilterError::Size { bytes: bytes.len() }),
        }
    }

    /// The same program, before which calls with these numbers become notifications, in whatever table they count.
    #[must_use]
    pub(super) fn with_notified(self, numbers: &[u32]) -> Self {
        if numbers.is_empty() {
            return self;
        }
        let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER);
        let notify = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
        let tests = numbers.iter().flat_map(|&k| {
            let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
            [libc::sock_filter { code, jt: 0, jf: 1, k }, notify]
        });
        Bpf(std::iter::once(load).chain(tests).chain(self.0).collect())
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[libc::sock_filter] {
        &self.0
    }
}

impl std::fmt::Debug for Bpf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bpf({} instructions)", self.0.len())
    }
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Decodes `struct sock_filter`, in this machine's byte order.
fn instruction([c0, c1, jt, jf, k @ ..]: [u8; INSTRUCTION]) -> libc::sock_filter {
    libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes(k) }
}
