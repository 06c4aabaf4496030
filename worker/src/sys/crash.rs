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

/// Has an `int3` happen again once the handler returns, as faults do: the thread is behind it already.
#[cfg(target_arch = "x86_64")]
fn rewind(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a `siginfo_t` and a `ucontext_t` to a handler with SA_SIGINFO, for as long as it runs.
    let (info, context) = unsafe { (info.as_ref(), context.cast::<libc::ucontext_t>().as_mut()) };
    // Of a SIGTRAP the kernel says so of no other instruction (`do_int3`, arch/x86/kernel/traps.c).
    let is_int3 = signal == libc::SIGTRAP && info.is_some_and(|info| info.si_code == libc::SI_KERNEL);
    if let Some(context) = context.filter(|_| is_int3) {
        context.uc_mcontext.gregs[libc::REG_RIP as usize] -= 1;
    }
}

/// The thread stands at a `brk` until somebody sees it past.
#[cfg(target_arch = "aarch64")]
fn rewind(_: c_int, _: *const libc::siginfo_t, _: *mut c_void) {}

/// Words of the journal that this process has named.
///
/// Holding one proves that the journal has all words up to those of the stack, and stays mapped.
struct Words(std::ptr::NonNull<AtomicU64>);

impl Words {
    fn named() -> Option<Self> {
        std::ptr::NonNull::new(JOURNAL.load(PointerOrdering::Acquire)).map(Words)
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < STACK + MOST_FRAMES);
        // SAFETY: `tell` has seen that the journal is longer than that, and it stays mapped.
        unsafe { self.0.add(index).as_ref() }
    }
}

extern "C" fn record(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    rewind(signal, info, context);
    let Some(words) = Words::named() else { return };
    let store = |at: usize, word: u64| words.at(at).store(word, Ordering::Relaxed);
    let mut stack = [0; MOST_FRAMES];
    let frames = backtrace(interrupted(context), &mut stack);
    for (place, frame) in stack[..frames].iter().enumerate() {
        store(STACK + place, *frame);
    }
    store(FRAMES, frames as u64);
    // SAFETY: the kernel hands a siginfo to a handler with SA_SIGINFO; only faults have an address in it.
    let fault = unsafe { info.as_ref().map_or(0, |info| info.si_addr().addr() as u64) };
    store(FAULT, if signal == libc::SIGSEGV || signal == libc::SIGBUS { fault } else { 0 });
    // Last: with the signal all of it is there.
    words.at(SIGNAL).store(u64::from(signal.cast_unsigned()), Ordering::Release);
}

/// Return addresses from `at` outwards, without the frames of the signal handler. Returns how many.
fn backtrace(at: u64, stack: &mut [u64; MOST_FRAMES]) -> usize {
    let mut found = [std::ptr::null_mut(); MOST_FRAMES + OWN_FRAMES];
    // SAFETY: the frames have room for as many as is said.
    let count = unsafe { libc::backtrace(found.as_mut_ptr(), found.len() as c_int) };
    let found = &found[..usize::try_from(count).unwrap_or_default()];
    // The frames above the interrupted one are of the handler.
    let first = found.iter().position(|frame| frame.addr() as u64 == at).map_or(0, |place| place + 1);
    let outer = found[first..].iter().map(|frame| frame.addr() as u64);
    let filled = stack.iter_mut().zip(std::iter::once(at).chain(outer));
    filled.map(|(place, frame)| *place = frame).count()
}

/// Has a panic end the process as an abort does: with its message on standard error, and its stack in the journal.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::abort();
    }));
}
