//! Crash reports: when a worker dies, it writes the signal, the address or the forbidden call, and the stack
//! to its journal.
//!
//! The zygote installs the signal handlers once, before it is jailed. They do nothing until the worker has
//! set its journal. They allocate nothing; the unwinder is loaded, and has run once, before.

mod registers;

use kcov_proto::journal::{FAULT, FAULTED, FORBIDDEN, FRAMES, MAX_FRAMES, SIGNAL, STACK};
use kcov_proto::sync::{AtomicU64, Ordering};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use registers::{SYS_SECCOMP, interrupted, return_to_caller, rewind};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering as PointerOrdering};

/// Signals of a faulty program. Their handler restores the default action, so that the worker dies by the
/// signal.
const FATAL: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];
/// Sent by the broker to a worker that does not finish a call, for its stack. The worker continues.
pub const ASKED: Signal = Signal::SIGQUIT;
/// Size of the stack that the signal handlers run on: the worker's own may have overflowed.
const ALTERNATE: usize = 128 * 1024;
/// Frames of the signal handler itself that an unwinder may find above the interrupted one.
const OWN_FRAMES: usize = 16;

/// First word of the worker's journal, or null.
static JOURNAL: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

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

/// Installs the signal handlers, and an exit handler that records where `exit` was called.
///
/// # Errors
/// As `sigaltstack(2)` and `sigaction(2)`.
pub fn install() -> Result<(), Errno> {
    // Used as long as the process lives.
    let stack = Box::leak(vec![0_u8; ALTERNATE].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALTERNATE };
    // SAFETY: the memory is never freed, and has no other use.
    Errno::result(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) })?;
    let mut frames = [std::ptr::null_mut(); 4];
    // SAFETY: `frames` has room for the number that is passed. This loads the unwinder, which a jailed worker
    // cannot.
    unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as c_int) };
    for signal in FATAL.into_iter().chain([ASKED]) {
        let once = if signal == ASKED { SaFlags::SA_RESTART } else { SaFlags::SA_RESETHAND };
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | once;
        let action = SigAction::new(SigHandler::SigAction(record), flags, SigSet::empty());
        // SAFETY: the handler uses atomics and its own stack only. The unwinder that it calls is loaded; of
        // the locks that it takes, this process's only thread can hold only the loader's, which it does not
        // while a handler runs.
        unsafe { sigaction(signal, &action) }?;
    }
    // SAFETY: a function of this program, which stays loaded. It fails only without memory: then an exit has
    // no stack.
    unsafe { libc::atexit(record_exit) };
    Ok(())
}

/// Sets the journal of this worker, which stays mapped.
pub fn set_journal(journal: &'static [AtomicU64]) {
    if journal.len() > STACK + MAX_FRAMES {
        JOURNAL.store(journal.as_ptr().cast_mut(), PointerOrdering::Release);
    }
}

/// Returns architecture and number of the call that a filter forbade, as a word of the journal; 0 if no call
/// was forbidden.
fn forbidden(signal: c_int, info: *const libc::siginfo_t) -> u64 {
    const { assert!(size_of::<SysInfo>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: the kernel passes a `siginfo_t` to a handler with SA_SIGINFO, which begins with a `SysInfo` for
    // this signal; for other causes of it the fields are integers and a pointer that is not dereferenced.
    match unsafe { info.cast::<SysInfo>().as_ref() } {
        Some(info) if signal == libc::SIGSYS && info.code == SYS_SECCOMP => {
            u64::from(info.arch) << 32 | u64::from(info.number.cast_unsigned())
        }
        _ => 0,
    }
}

/// The words of this process's journal.
///
/// Holding one proves that the journal is set, has all words up to those of the stack, and stays mapped.
struct Words(std::ptr::NonNull<AtomicU64>);

impl Words {
    fn of_the_journal() -> Option<Self> {
        std::ptr::NonNull::new(JOURNAL.load(PointerOrdering::Acquire)).map(Words)
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < STACK + MAX_FRAMES);
        // SAFETY: `set_journal` has checked that the journal is longer than that, and it stays mapped.
        unsafe { self.0.add(index).as_ref() }
    }

    fn store(&self, index: usize, word: u64) {
        self.at(index).store(word, Ordering::Relaxed);
    }

    /// Stores the stack from `at` outwards (without `at`: all of it) after `innermost`, which the unwinder
    /// does not find.
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

    /// Stores the stack of the interrupted thread. `fault` is the address of the fault. If the thread was
    /// executing it, as after a call of a null pointer, the unwinder has no information about that address
    /// and begins at the caller's.
    fn store_interrupted(&self, context: *mut c_void, fault: Option<u64>) {
        let at = interrupted(context);
        // SAFETY: the kernel passes a `ucontext_t` to a handler with SA_SIGINFO; it exists while it runs.
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

/// Returns the address of a fault. There is none for a signal that a process sent, nor for an access to a
/// non-canonical address (`SI_KERNEL`, `arch/x86/kernel/traps.c`, Linux 6.18).
fn fault_of(info: &libc::siginfo_t) -> Option<u64> {
    const SI_KERNEL: c_int = 0x80;
    let is_fault = [libc::SIGSEGV, libc::SIGBUS].contains(&info.si_signo);
    // SAFETY: a fault has an address in its siginfo.
    (is_fault && info.si_code > 0 && info.si_code != SI_KERNEL)
        .then(|| unsafe { info.si_addr() }.addr() as u64)
}

extern "C" fn record(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    rewind(signal, info, context);
    let Some(words) = Words::of_the_journal() else { return };
    // SAFETY: the kernel passes a `siginfo_t` to a handler with SA_SIGINFO; it exists while it runs.
    let fault = unsafe { info.as_ref() }.and_then(fault_of);
    words.store_interrupted(context, fault);
    words.store(FAULT, fault.unwrap_or_default());
    words.store(FORBIDDEN, forbidden(signal, info));
    // Last: a reader that sees the signal sees the rest.
    let faulted = if fault.is_some() { FAULTED } else { 0 };
    words.at(SIGNAL).store(u64::from(signal.cast_unsigned()) | faulted, Ordering::Release);
}

/// Records the stack of an `exit` that a handler calls. `_exit` is not recorded.
extern "C" fn record_exit() {
    if let Some(words) = Words::of_the_journal() {
        words.store_stack(None, None);
    }
}

/// Writes the return addresses from `at` outwards to `stack`, without the frames of the signal handler;
/// without `at`, all frames. Returns their number.
fn backtrace(at: Option<u64>, stack: &mut [u64]) -> usize {
    let mut found = [std::ptr::null_mut(); MAX_FRAMES + OWN_FRAMES];
    // SAFETY: `found` has room for the number that is passed.
    let count = unsafe { libc::backtrace(found.as_mut_ptr(), found.len() as c_int) };
    let found = &found[..usize::try_from(count).unwrap_or_default()];
    // The frames above the interrupted one belong to the signal handler.
    let interrupted = found.iter().position(|frame| Some(frame.addr() as u64) == at);
    let first = interrupted.map_or(0, |place| place + 1);
    let outer = found[first..].iter().map(|frame| frame.addr() as u64);
    let filled = stack.iter_mut().zip(at.into_iter().chain(outer));
    filled.map(|(place, frame)| *place = frame).count()
}

/// Makes a panic abort the process, with its message on standard error and its stack in the journal.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::abort();
    }));
}
