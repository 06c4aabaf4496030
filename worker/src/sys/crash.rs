//! What a worker says of itself when it dies: the signal, the address or the forbidden call, the stack, into its journal.
//!
//! The handlers are installed once, by the zygote before it is jailed, and do nothing until the worker has named its
//! journal. They allocate nothing; the unwinder was loaded and tried before.

use kcov_proto::journal::{FAULT, FAULTED, FORBIDDEN, FRAMES, MAX_FRAMES, SIGNAL, STACK};
use kcov_proto::sync::{AtomicU64, Ordering};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering as PointerOrdering};

/// Signals of a program that does what it should not. Their action is the default one again afterwards, so that the
/// worker dies of what it did.
const FATAL: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];
/// The broker asks by it where a worker is that does not come to an end. It goes on.
pub const ASKED: Signal = Signal::SIGQUIT;
/// Bytes of the stack that the handlers run on: the worker's own may be used up.
const ALTERNATE: usize = 128 * 1024;
/// Frames of the handler itself that an unwinder may find above the one in question.
const OWN_FRAMES: usize = 16;

/// First word of the worker's journal, or null.
static JOURNAL: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// `si_code` of a `SIGSYS` that a filter brought about (`include/uapi/asm-generic/siginfo.h`).
const SYS_SECCOMP: c_int = 1;

/// `siginfo_t` of a `SIGSYS`.
#[repr(C)]
struct SysInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    address: *mut c_void,
    number: c_int,
    arch: u32,
}

/// Installs the handlers, and has `exit` say where it was called.
///
/// # Errors
/// As `sigaltstack(2)` and `sigaction(2)`.
pub fn install() -> Result<(), Errno> {
    // For as long as the process lives.
    let stack = Box::leak(vec![0_u8; ALTERNATE].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALTERNATE };
    // SAFETY: the memory is this process's for ever, and nobody else uses it.
    Errno::result(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) })?;
    let mut frames = [std::ptr::null_mut(); 4];
    // SAFETY: the frames have room for as many as is said. This loads the unwinder, which a jailed worker could not.
    unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as c_int) };
    for signal in FATAL.into_iter().chain([ASKED]) {
        let once = if signal == ASKED { SaFlags::SA_RESTART } else { SaFlags::SA_RESETHAND };
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | once;
        let action = SigAction::new(SigHandler::SigAction(record), flags, SigSet::empty());
        // SAFETY: the handler touches atomics and its own stack; the unwinder that it calls is loaded, and takes no
        // lock that this process's one thread could hold but the loader's, which no handler holds while it runs.
        unsafe { sigaction(signal, &action) }?;
    }
    // SAFETY: a function of this program, which stays loaded. It fails for lack of memory alone: an exit without a stack.
    unsafe { libc::atexit(record_exit) };
    Ok(())
}

/// Names the journal of this worker, which stays mapped.
pub fn tell(journal: &'static [AtomicU64]) {
    if journal.len() > STACK + MAX_FRAMES {
        JOURNAL.store(journal.as_ptr().cast_mut(), PointerOrdering::Release);
    }
}

/// The address at which the thread was when the signal came.
fn interrupted(context: *const c_void) -> u64 {
    // SAFETY: the kernel hands a `ucontext_t` to a handler with SA_SIGINFO.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else { return 0 };
    #[cfg(target_arch = "x86_64")]
    let at = context.uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    let at = context.uc_mcontext.pc;
    at
}

/// Has what brought the signal about happen again once the handler returns, as faults do: the thread is behind it
/// already. Registers are as before a forbidden call (`syscall_rollback`, kernel/seccomp.c).
fn rewind(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a `siginfo_t` and a `ucontext_t` to a handler with SA_SIGINFO, for as long as it runs.
    let (info, context) = unsafe { (info.as_ref(), context.cast::<libc::ucontext_t>().as_mut()) };
    let (Some(info), Some(context)) = (info, context) else { return };
    #[cfg(target_arch = "x86_64")]
    {
        context.uc_mcontext.gregs[libc::REG_RIP as usize] -= match (signal, info.si_code) {
            // `int3`: of a SIGTRAP the kernel says so of no other instruction (`do_int3`, arch/x86/kernel/traps.c).
            (libc::SIGTRAP, libc::SI_KERNEL) => 1,
            // `syscall`, `sysenter` and `int 0x80` have the same length.
            (libc::SIGSYS, SYS_SECCOMP) => 2,
            _ => 0,
        };
    }
    // The thread stands at a `brk` until somebody sees it past.
    #[cfg(target_arch = "aarch64")]
    if (signal, info.si_code) == (libc::SIGSYS, SYS_SECCOMP) {
        context.uc_mcontext.pc -= 4;
    }
}

/// Has the thread be where a function returns to that it has just called.
fn return_to_caller(context: &mut libc::ucontext_t) {
    #[cfg(target_arch = "x86_64")]
    {
        let registers = &mut context.uc_mcontext.gregs;
        let top = registers[libc::REG_RSP as usize].cast_unsigned() as usize;
        // SAFETY: the thread's own stack, where its last call has left what it returns to. Should it be none, this is
        // a fault whose action is the default one by now.
        let caller = unsafe { std::ptr::with_exposed_provenance::<i64>(top).read_unaligned() };
        registers[libc::REG_RIP as usize] = caller;
        registers[libc::REG_RSP as usize] += 8;
    }
    #[cfg(target_arch = "aarch64")]
    {
        // The link register.
        context.uc_mcontext.pc = context.uc_mcontext.regs[30];
    }
}

/// Architecture and number of the call that a filter forbade, as a word of the journal; 0 if it was none.
fn forbidden(signal: c_int, info: *const libc::siginfo_t) -> u64 {
    const { assert!(size_of::<SysInfo>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: the kernel hands a `siginfo_t` to a handler with SA_SIGINFO, and its beginning is a `SysInfo` for this
    // signal; for any other of its causes the fields are integers and a pointer of some value, which nobody follows.
    match unsafe { info.cast::<SysInfo>().as_ref() } {
        Some(info) if signal == libc::SIGSYS && info.code == SYS_SECCOMP => {
            u64::from(info.arch) << 32 | u64::from(info.number.cast_unsigned())
        }
        _ => 0,
    }
}

/// Words of the journal that this process has named.
///
/// Holding one proves that the journal has all words up to those of the stack, and stays mapped.
struct Words(std::ptr::NonNull<AtomicU64>);

impl Words {
    fn named() -> Option<Self> {
        std::ptr::NonNull::new(JOURNAL.load(PointerOrdering::Acquire)).map(Words)
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < STACK + MAX_FRAMES);
        // SAFETY: `tell` has seen that the journal is longer than that, and it stays mapped.
        unsafe { self.0.add(index).as_ref() }
    }

    fn store(&self, index: usize, word: u64) {
        self.at(index).store(word, Ordering::Relaxed);
    }

    /// Stores the stack from `at` outwards, or all of it, below `innermost`, which no unwinder would find.
    fn store_stack(&self, innermost: Option<u64>, at: Option<u64>) {
        let mut stack = [0; MAX_FRAMES];
        let given = usize::from(innermost.is_some());
        stack[0] = innermost.unwrap_or_default();
        let frames = given + backtrace(at, &mut stack[given..]);
        for (place, frame) in stack[..frames].iter().enumerate() {
            self.store(STACK + place, *frame);
        }
        self.store(FRAMES, frames as u64);
    }

    /// Stores the stack of the interrupted thread. `fault` is the address that it may not use: if it went there to
    /// execute it, as through a null pointer to a function, an unwinder knows nothing of that place, and begins at the
    /// caller's.
    fn store_interrupted(&self, context: *mut c_void, fault: Option<u64>) {
        let at = interrupted(context);
        // SAFETY: the kernel hands a `ucontext_t` to a handler with SA_SIGINFO, for as long as it runs.
        match unsafe { context.cast::<libc::ucontext_t>().as_mut() } {
            Some(context) if fault == Some(at) => {
                let before = context.uc_mcontext;
                return_to_caller(context);
                self.store_stack(Some(at), Some(interrupted(std::ptr::from_ref(context).cast())));
                context.uc_mcontext = before;
            }
            _ => self.store_stack(None, Some(at)),
        }
    }
}

/// The address that a signal is about. The kernel does not know that of an access to one that is not canonical
/// (`SI_KERNEL`, `arch/x86/kernel/traps.c`, Linux 6.18), and a signal that was sent is about none.
fn fault_of(info: &libc::siginfo_t) -> Option<u64> {
    const SI_KERNEL: c_int = 0x80;
    let is_fault = [libc::SIGSEGV, libc::SIGBUS].contains(&info.si_signo);
    // SAFETY: a fault has an address in its siginfo.
    (is_fault && info.si_code > 0 && info.si_code != SI_KERNEL)
        .then(|| unsafe { info.si_addr() }.addr() as u64)
}

extern "C" fn record(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    rewind(signal, info, context);
    let Some(words) = Words::named() else { return };
    // SAFETY: the kernel hands a siginfo to a handler with SA_SIGINFO, for as long as it runs.
    let fault = unsafe { info.as_ref() }.and_then(fault_of);
    words.store_interrupted(context, fault);
    words.store(FAULT, fault.unwrap_or_default());
    words.store(FORBIDDEN, forbidden(signal, info));
    // Last: with the signal all of it is there.
    let faulted = if fault.is_some() { FAULTED } else { 0 };
    words.at(SIGNAL).store(u64::from(signal.cast_unsigned()) | faulted, Ordering::Release);
}

/// A handler ends its worker by `exit`. By `_exit` it does so unheard.
extern "C" fn record_exit() {
    if let Some(words) = Words::named() {
        words.store_stack(None, None);
    }
}

/// Return addresses from `at` outwards, without the frames of the signal handler; without `at` all of them. Returns how
/// many.
fn backtrace(at: Option<u64>, stack: &mut [u64]) -> usize {
    let mut found = [std::ptr::null_mut(); MAX_FRAMES + OWN_FRAMES];
    // SAFETY: the frames have room for as many as is said.
    let count = unsafe { libc::backtrace(found.as_mut_ptr(), found.len() as c_int) };
    let found = &found[..usize::try_from(count).unwrap_or_default()];
    // The frames above the interrupted one are of the handler.
    let interrupted = found.iter().position(|frame| Some(frame.addr() as u64) == at);
    let first = interrupted.map_or(0, |place| place + 1);
    let outer = found[first..].iter().map(|frame| frame.addr() as u64);
    let filled = stack.iter_mut().zip(at.into_iter().chain(outer));
    filled.map(|(place, frame)| *place = frame).count()
}

/// Has a panic end the process as an abort does: with its message on standard error, and its stack in the journal.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::abort();
    }));
}
