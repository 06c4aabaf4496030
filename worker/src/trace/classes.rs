//! Classes of arguments: a list of tests each, one a line.
//!
//! A test compares the argument, or a part of it, with a value that decides what the kernel does with it: a flag
//! or a command (a constant), or a bound that depends on the caller (no constant). Names are those of the
//! kernel's headers; a value is never 0, as clients drop comparisons with a constant 0.

mod files;
mod memory;
mod sockets;
mod tasks;

pub use files::*;
pub use memory::*;
pub use sockets::*;
pub use tasks::*;

use kcov_proto::area::CmpSize;

/// What an argument of a class is compared with.
pub type Class = &'static [Test];

/// An argument that is compared with nothing: a pointer, a cookie.
pub const OTHER: Class = &[];

/// End of user memory with four levels of page tables (`TASK_SIZE_MAX`).
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// One comparison of an argument.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Size of the operands.
    pub size: CmpSize,
    /// Bits of the argument below the part that is compared.
    pub shift: u32,
    /// With what.
    pub with: With,
}

/// What an argument is compared with.
#[derive(Clone, Copy, Debug)]
pub enum With {
    /// A constant of the kernel.
    Constant(u64),
    /// A bound of the caller's, as it is in a small process.
    Bound(u64),
    /// The highest address at which as many bytes as the next argument says end in user memory (`access_ok`).
    Room,
}

const fn constant(size: CmpSize, value: u64) -> Test {
    Test { size, shift: 0, with: With::Constant(size.truncate(value)) }
}

/// A constant of an `int` or `unsigned int`.
const fn int(value: i64) -> Test {
    constant(CmpSize::Four, value as u64)
}

/// A constant of a `long`, `size_t` or `loff_t`.
const fn long(value: u64) -> Test {
    constant(CmpSize::Eight, value)
}

/// A constant of a `umode_t`.
const fn short(value: u64) -> Test {
    constant(CmpSize::Two, value)
}

/// A constant of the byte above the low `shift` bits.
const fn byte(shift: u32, value: u8) -> Test {
    Test { size: CmpSize::One, shift, with: With::Constant(value as u64) }
}

const fn bound(value: u64) -> Test {
    Test { size: CmpSize::Four, shift: 0, with: With::Bound(value) }
}

/// A comparison that was made. Its operands fit its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Size of the operands.
    pub size: CmpSize,
    /// Whether `arg1` is a constant.
    pub constant: bool,
    /// The value that the argument is compared with.
    pub arg1: u64,
    /// The argument.
    pub arg2: u64,
}

impl Comparison {
    /// Whether clients make use of it: they drop equal operands and a first operand of 0.
    pub fn is_kept(&self) -> bool {
        self.arg1 != self.arg2 && self.arg1 != 0
    }
}

impl Test {
    /// The comparison of argument `at` of `args`.
    pub fn of(&self, args: &[u64; 6], at: usize) -> Comparison {
        let arg = |at: usize| args.get(at).copied().unwrap_or(0);
        let (constant, value) = match self.with {
            With::Constant(value) => (true, value),
            With::Bound(value) => (false, value),
            With::Room => (false, TASK_SIZE.saturating_sub(arg(at + 1))),
        };
        let arg2 = self.size.truncate(arg(at) >> self.shift);
        Comparison { size: self.size, constant, arg1: value, arg2 }
    }
}
