//! The [`rules`](super::rules) as a BPF program.

use super::rules::{Argument, OWN_PROCESS, RULES, Rule, SANITIZERS, Who};
use crate::sys::jail as sys;
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Seek};

/// Bytes of a `struct sock_filter`.
const INSTRUCTION: usize = 8;
/// Most instructions of a program (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// Why no filter came out.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// libseccomp refused a step.
    #[error("libseccomp: {step}")]
    Library {
        /// Which step, or the call that a rule is for.
        step: &'static str,
        /// What it said.
        source: SeccompError,
    },
    /// The program did not come out of libseccomp.
    #[error("reading the filter back from libseccomp")]
    Export(#[source] std::io::Error),
    /// The program has a length that the kernel does not take.
    #[error("a filter of {bytes} bytes: the kernel takes 1 to 4096 instructions of 8 bytes")]
    Size {
        /// Its length.
        bytes: usize,
    },
}

fn library(step: &'static str) -> impl FnOnce(SeccompError) -> FilterError {
    move |source| FilterError::Library { step, source }
}

/// A program of 1 to 4096 instructions, ready to install.
pub struct Program(Box<[libc::sock_filter]>);

impl Program {
    /// Installs it in the calling thread, for good, with the number of this process where the rules say
    /// [`OWN_PROCESS`]. Allocates nothing; `no_new_privs` must be set.
    ///
    /// # Errors
    /// As `seccomp(2)`.
    pub fn install(&mut self) -> Result<(), Errno> {
        let own = Pid::this().as_raw().cast_unsigned();
        let compares = |code: u16| u32::from(code) == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        for instruction in self.0.iter_mut().filter(|instruction| compares(instruction.code)) {
            if instruction.k == OWN_PROCESS.cast_unsigned() {
                instruction.k = own;
            }
        }
        sys::install_filter(&self.0)
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({} instructions)", self.0.len())
    }
}

/// Builds the filter of a zygote or a worker: the rules of this machine's own table run, all else kills.
///
/// By a trap: what has a handler of `SIGSYS` says first where it was (`sys::crash`), and what has none, ignores it or
/// blocks it dies of it at once. The call is not made in any case.
///
/// # Errors
/// [`FilterError`], which names the step.
pub fn build(who: Who) -> Result<Program, FilterError> {
    build_with(who, &[])
}

/// The same for a process that may have a sanitizer loaded.
///
/// # Errors
/// As [`build`].
pub fn build_here(who: Who) -> Result<Program, FilterError> {
    // A zygote has no environment but what the broker gave it: nothing else is loaded before the program itself.
    let is_sanitized = std::env::var_os("LD_PRELOAD").is_some();
    build_with(who, if is_sanitized { SANITIZERS } else { &[] })
}

fn build_with(who: Who, more: &[Rule]) -> Result<Program, FilterError> {
    let mut context = ScmpFilterContext::new(ScmpAction::Trap).map_err(library("new filter"))?;
    context.set_act_badarch(ScmpAction::Trap).map_err(library("set action for other architectures"))?;
    // A binary search over the numbers; versions before 2.5 have none, and their filter is only slower.
    drop(context.set_ctl_optimize(2).map(drop));
    RULES.iter().chain(more).filter(|rule| rule.is_for(who)).try_for_each(|rule| add(&mut context, rule))?;
    export(&context)
}

fn add(context: &mut ScmpFilterContext, rule: &Rule) -> Result<(), FilterError> {
    let call = ScmpSyscall::from_name(rule.call).map_err(library(rule.call))?;
    // libseccomp gives calls that this machine lacks negative numbers: `poll` on aarch64.
    if call.as_raw_syscall() < 0 {
        return Ok(());
    }
    let action = rule.fails.map_or(ScmpAction::Allow, ScmpAction::Errno);
    let conditions: Vec<ScmpArgCompare> = rule.when.iter().copied().map(condition).collect();
    context.add_rule_conditional_exact(action, call, &conditions).map(drop).map_err(library(rule.call))
}

fn condition(Argument { index, mask, value }: Argument) -> ScmpArgCompare {
    ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(mask), value)
}

/// Reads the program back, through a file: libseccomp exports to memory only from 2.6 on.
fn export(context: &ScmpFilterContext) -> Result<Program, FilterError> {
    let file =
        memfd_create("filter", MFdFlags::MFD_CLOEXEC).map_err(|errno| FilterError::Export(errno.into()))?;
    let mut file = File::from(file);
    context.export_bpf(&file).map_err(library("export"))?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(FilterError::Export)?;
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
    match rest.is_empty() && (1..=MOST).contains(&instructions.len()) {
        true => Ok(Program(instructions.iter().map(|i| instruction(*i)).collect())),
        false => Err(FilterError::Size { bytes: bytes.len() }),
    }
}

/// Decodes `struct sock_filter`, in this machine's byte order.
fn instruction([c0, c1, jt, jf, k @ ..]: [u8; INSTRUCTION]) -> libc::sock_filter {
    libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes(k) }
}
