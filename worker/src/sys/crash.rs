//! What a worker says of itself when it dies: the signal, the address, the stack, into its journal.
//!
//! The handlers are installed once, by the zygote before it is jailed, and do nothing until the worker has named its
//! journal. They allocate nothing; the unwinder was loaded and tried before.

use kcov_proto::journal::{FAULT, FRAMES, MOST_FRAMES, SIGNAL, STACK};
use kcov_proto::sync::{AtomicU64, Ordering};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering as PointerOrdering};

/// Signals of a program that does what it should not. Their action is the default one again afterwards, so that the
/// worker dies of what it did.
const FATAL: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGABRT];
/// The broker asks by it where a worker is that does not come to an end. It goes on.
pub const ASKED: Signal = Signal::SIGQUIT;
/// Bytes of the stack that the handlers run on: the worker's own may be used up.
const ALTERNATE: usize = 128 * 1024;
/// Frames of the handler itself that an unwinder may find above the one in question.
const OWN_FRAMES: usize = 16;

/// First word of the worker's journal, or null.
static JOURNAL: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the handlers.
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
    Ok(())
}

/// Names the journal of this worker, which stays mapped.
pub fn tell(journal: &'static [AtomicU64]) {
    if journal.len() > STACK + MOST_FRAMES {
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

extern "C" fn record(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let journal = JOURNAL.load(PointerOrdering::Acquire);
    if journal.is_null() {
        return;
    }
    let store = |at: usize, word: u64| {
        // SAFETY: `tell` has seen that the journal has more words than are used here, and it stays mapped.
        unsafe { &*journal.add(at) }.store(word, Ordering::Relaxed);
    };
    let mut found = [std::ptr::null_mut(); MOST_FRAMES + OWN_FRAMES];
    // SAFETY: the frames have room for as many as is said.
    let count = unsafe { libc::backtrace(found.as_mut_ptr(), found.len() as c_int) };
    let found = &found[..usize::try_from(count).unwrap_or_default()];
    let at = interrupted(context);
    // The frames above the interrupted one are of the handler.
    let first = found.iter().position(|frame| frame.addr() as u64 == at).map_or(0, |place| place + 1);
    let stack = std::iter::once(at).chain(found[first..].iter().map(|frame| frame.addr() as u64));
    let mut frames = 0;
    for (place, frame) in stack.take(MOST_FRAMES).enumerate() {
        store(STACK + place, frame);
        frames = place as u64 + 1;
    }
    store(FRAMES, frames);
    // SAFETY: the kernel hands a siginfo to a handler with SA_SIGINFO; only faults have an address in it.
    let fault = unsafe { info.as_ref().map_or(0, |info| info.si_addr().addr() as u64) };
    store(FAULT, if signal == libc::SIGSEGV || signal == libc::SIGBUS { fault } else { 0 });
    // Last: with the signal all of it is there.
    // SAFETY: as in `store`.
    unsafe { &*journal.add(SIGNAL) }.store(u64::from(signal.cast_unsigned()), Ordering::Release);
}

/// Has a panic end the worker as an abort does: with its message on standard error, and its stack in the journal.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::abort();
    }));
}
