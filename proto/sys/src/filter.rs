//! Seccomp programs, and their installation.
//!
//! A [`Bpf`] is built by libseccomp, exported, and installed by a raw `seccomp(2)`: libseccomp 2.5 cannot ask
//! for `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, and it allocates, which a worker between its fork and its
//! filter should not.

use crate::rules::OWN_PROCESS;
use libseccomp::ScmpFilterContext;
use libseccomp::error::SeccompError;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::RawFd;

/// Bytes of a `struct sock_filter`.
const INSTRUCTION: usize = 8;
/// Most instructions of a program (`BPF_MAXINSNS`, `include/uapi/linux/bpf_common.h`).
const MOST: usize = 4096;
/// Offset of the number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the architecture in `struct seccomp_data`.
const ARCHITECTURE: u32 = 4;
/// `AUDIT_ARCH_*` of this machine's native programs (`include/uapi/linux/audit.h`).
const AUDIT_ARCH_NATIVE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
/// `AUDIT_ARCH_*` of its 32-bit programs.
const AUDIT_ARCH_COMPAT: u32 = if cfg!(target_arch = "aarch64") { 0x4000_0028 } else { 0x4000_0003 };
/// Opcode of "jump if equal to the operand".
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;

/// Why a program could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// libseccomp refused a step.
    #[error("libseccomp: {step}")]
    Library {
        /// The step, or the call that a rule is for.
        step: String,
        /// Its error.
        source: SeccompError,
    },
    /// The program could not be exported.
    #[error("reading the filter back from libseccomp")]
    Export(#[source] std::io::Error),
    /// The kernel does not accept programs of this length.
    #[error("a filter of {bytes} bytes: the kernel takes 1 to 4096 instructions of 8 bytes")]
    Size {
        /// Its length.
        bytes: usize,
    },
}

impl BuildError {
    /// Names the step that a libseccomp error comes from.
    pub fn library(step: &str) -> impl FnOnce(SeccompError) -> Self + '_ {
        move |source| BuildError::Library { step: step.to_owned(), source }
    }
}

/// Asks libseccomp for a binary search over the numbers. Versions before 2.5 have none; their programs are
/// slower.
pub fn sort_by_number(context: &mut ScmpFilterContext) {
    drop(context.set_ctl_optimize(2).map(drop));
}

/// A program of 1 to 4096 instructions for `seccomp(2)`. The kernel checks what the instructions do.
#[derive(Clone)]
pub struct Bpf(Box<[libc::sock_filter]>);

impl Bpf {
    /// Returns a program that allows every call.
    #[must_use]
    pub fn allow_all() -> Self {
        Bpf(Box::new([statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)]))
    }

    /// Exports the program of `context`.
    ///
    /// # Errors
    /// If libseccomp cannot write it, or it is too long.
    pub fn export(context: &ScmpFilterContext) -> Result<Self, BuildError> {
        // Through a file: libseccomp exports to memory only from 2.6 on.
        let file = memfd_create("filter", MFdFlags::MFD_CLOEXEC);
        let mut file = File::from(file.map_err(|errno| BuildError::Export(errno.into()))?);
        context.export_bpf(&file).map_err(BuildError::library("export"))?;
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(BuildError::Export)?;
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
        match rest.is_empty() && (1..=MOST).contains(&instructions.len()) {
            true => Ok(Bpf(instructions.iter().map(|i| instruction(*i)).collect())),
            false => Err(BuildError::Size { bytes: bytes.len() }),
        }
    }

    /// Puts in front of the program that calls with these numbers become notifications, in every table of
    /// calls.
    #[must_use]
    pub fn with_notified(self, numbers: &[u32]) -> Self {
        if numbers.is_empty() {
            return self;
        }
        let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER);
        let notify = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
        let tests = numbers
            .iter()
            .flat_map(|&k| [libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k }, notify]);
        Bpf(std::iter::once(load).chain(tests).chain(self.0).collect())
    }

    /// Has calls with these numbers, in the native table and in the 32-bit one, judged by `other` and all others by this
    /// program.
    #[must_use]
    pub fn except(self, [native, compat]: &[Vec<u32>; 2], other: &Bpf) -> Self {
        let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let equal = |k, jt, jf| libc::sock_filter { code: JUMP_IF_EQUAL, jt, jf, k };
        let jump = |by: usize| statement(libc::BPF_JMP | libc::BPF_JA, by as u32);
        let tables = [(AUDIT_ARCH_NATIVE, native), (AUDIT_ARCH_COMPAT, compat)];
        // Behind the front comes this program, and behind it the other one.
        let front_length: usize = tables.iter().map(|(_, numbers)| 4 + 2 * numbers.len()).sum();
        let mut front = Vec::with_capacity(front_length);
        for (arch, numbers) in tables {
            // Another table: over the numbers of this one.
            front.extend([load(ARCHITECTURE), equal(arch, 1, 0), jump(1 + 2 * numbers.len()), load(NUMBER)]);
            for &number in numbers {
                front.push(equal(number, 0, 1));
                front.push(jump(front_length + self.0.len() - front.len() - 1));
            }
        }
        Bpf(front.into_iter().chain(self.0).chain(other.0.iter().copied()).collect())
    }

    /// Puts the number of the calling process where a rule has [`OWN_PROCESS`]. Allocates nothing.
    pub fn set_own_process(&mut self) {
        let compared = self.0.iter_mut().filter(|instruction| instruction.code == JUMP_IF_EQUAL);
        for instruction in compared.filter(|instruction| instruction.k == OWN_PROCESS.cast_unsigned()) {
            instruction.k = Pid::this().as_raw().cast_unsigned();
        }
    }

    /// Returns the instructions.
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

/// Installs `program` in the calling thread, permanently, with these `SECCOMP_FILTER_FLAG_*`. Makes one
/// system call and allocates nothing, so it may run in a freshly forked child.
///
/// Returns the listener if `SECCOMP_FILTER_FLAG_NEW_LISTENER` is among the flags, else 0. The listener is a
/// plain number and not an `OwnedFd`: from here on the caller's own calls may wait for a supervisor, also the
/// `close` of a drop.
///
/// # Errors
/// As `seccomp(2)`: `EACCES` without `no_new_privs` and `CAP_SYS_ADMIN`.
pub fn install(program: &Bpf, flags: libc::c_ulong) -> Result<RawFd, Errno> {
    let Ok(len) = libc::c_ushort::try_from(program.0.len()) else { return Err(Errno::EINVAL) };
    let program = libc::sock_fprog { len, filter: program.0.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions from `filter`, which is a live slice of that length, and
    // writes nothing (seccomp_prepare_user_filter, kernel/seccomp.c, Linux 6.12).
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    // A listener's number fits: descriptors are ints.
    Errno::result(result).map(|fd| fd as RawFd)
}
