//! For tests: compares tables with the filter that they become, by real calls in real children.

use super::{Argument, Denial, OWN_PROCESS, Rule};
use crate::probe::{call, end_of};
use libseccomp::ScmpSyscall;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

/// One past the highest number that is tried: above the last of Linux 6.18.
const NUMBERS: i64 = 480;
/// All bits set: not a descriptor, address or length of anything, so a call that is made does no harm.
pub const NOTHING: [u64; 6] = [u64::MAX; 6];
/// `uretprobe` and `uprobe` of x86_64, which the kernel runs without asking a filter
/// (`seccomp_uprobe_exception`, kernel/seccomp.c, Linux 6.14). They fail when they are called from outside of
/// their trampolines.
const UNFILTERED: [i64; 2] = [335, 336];
/// Exit status of a child whose call was denied.
const DENIED: i32 = 98;
/// Exit status of a child whose filter did not install.
pub const UNCONFINED: i32 = 99;

/// Returns the number of a call.
///
/// # Panics
/// If libseccomp does not know the name.
#[must_use]
pub fn number(call: &str) -> i64 {
    ScmpSyscall::from_name(call).expect(call).as_raw_syscall().into()
}

/// The filter of one process, with the tables that it is built from.
pub struct Confined<'a> {
    /// The tables.
    pub tables: &'a [&'a [Rule]],
    /// What happens to other calls.
    pub denial: Denial,
    /// Installs the filter in the calling process.
    pub install: &'a dyn Fn() -> Result<(), Errno>,
}

impl Confined<'_> {
    /// Returns whether a child under the filter may make this call.
    ///
    /// # Panics
    /// If the filter does not install.
    #[must_use]
    pub fn allows(&self, number: i64, args: [u64; 6]) -> bool {
        let end = end_of(|| {
            let args = with_own_process(args);
            if (self.install)().is_err() {
                return UNCONFINED;
            }
            let result = call(number, args);
            match self.denial {
                Denial::Fail(errno) if result == Err(Errno::from_raw(errno)) => DENIED,
                _ => 0,
            }
        });
        match end {
            WaitStatus::Exited(_, UNCONFINED) => panic!("the filter does not install"),
            WaitStatus::Exited(_, DENIED) | WaitStatus::Signaled(_, Signal::SIGSYS, _) => false,
            _ => true,
        }
    }

    /// Returns whether the tables list a call with these arguments.
    fn lists(&self, call: i64, args: [u64; 6]) -> bool {
        let holds = |argument: &Argument| args[argument.index as usize] & argument.mask == argument.value;
        self.rules().any(|rule| number(rule.call) == call && rule.when.iter().all(holds))
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.tables.iter().copied().flatten()
    }

    /// Tries each rule of `every`, which may be another process's, and each near miss of its conditions: the
    /// filter must allow what this process's tables list.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_rules(&self, every: &[&[Rule]]) {
        // A return from no signal handler takes its registers from whatever is on the stack.
        for rule in every.iter().copied().flatten().filter(|rule| rule.call != "rt_sigreturn") {
            let (call, args) = (number(rule.call), registers(rule));
            assert_eq!(self.allows(call, args), self.lists(call, args), "{rule:?}");
            for argument in rule.when {
                for bit in (0..64).filter(|bit| argument.mask >> bit & 1 == 1) {
                    let mut missed = args;
                    missed[argument.index as usize] ^= 1 << bit;
                    assert_eq!(self.allows(call, missed), self.lists(call, missed), "{rule:?} bit {bit}");
                }
            }
        }
    }

    /// Tries each number that the tables do not have, also of x32.
    ///
    /// # Panics
    /// If the filter allows one.
    pub fn assert_other_numbers_are_denied(&self) {
        let numbers = (0..NUMBERS).filter(|call| !UNFILTERED.contains(call));
        for call in numbers.chain([0x4000_0000, 0x4000_0000 | 514]) {
            if !self.rules().any(|rule| number(rule.call) == call) {
                assert!(!self.allows(call, NOTHING), "{call}");
                assert!(!self.allows(call, [0; 6]), "{call} with zeroes");
            }
        }
    }

    /// Tries calls by name, so that a rule that is added to a table by mistake is noticed.
    ///
    /// # Panics
    /// If the filter allows one.
    pub fn assert_denied(&self, calls: &[&str]) {
        for name in calls {
            assert!(!self.allows(number(name), NOTHING), "{name}");
        }
    }
}

/// Registers that meet the conditions of a rule, with every other bit set.
fn registers(rule: &Rule) -> [u64; 6] {
    rule.when.iter().fold(NOTHING, |mut args, argument| {
        args[argument.index as usize] = argument.value | !argument.mask;
        args
    })
}

/// The registers in the process that makes the call: its own number in place of [`OWN_PROCESS`].
fn with_own_process(args: [u64; 6]) -> [u64; 6] {
    let own = Pid::this().as_raw().cast_unsigned();
    args.map(|arg| match arg as u32 == OWN_PROCESS.cast_unsigned() {
        true => arg >> 32 << 32 | u64::from(own),
        false => arg,
    })
}
