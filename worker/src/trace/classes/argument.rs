//! Comparisons of an argument: what a class is made of.
//!
//! A test compares an argument, or a part of it, with a value that decides what the kernel does: a flag or a
//! command (a constant of the kernel), or a bound that depends on the caller. Names follow the kernel's
//! headers. No value is 0, because clients discard comparisons with a constant 0.

use kcov_proto::area::CmpSize;

/// The comparisons of an argument, one for each value.
pub type Class = &'static [ArgTest];

/// The class of an argument that is not compared: a pointer, a cookie.
pub const OTHER: Class = &[];

/// End of user memory with four levels of page tables (`TASK_SIZE_MAX`).
pub(super) const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// One comparison of an argument.
#[derive(Clone, Copy, Debug)]
pub struct ArgTest {
    /// Size of the operands.
    pub size: CmpSize,
    /// How far the argument is shifted right before it is compared, in bits.
    pub shift: u32,
    /// The value that it is compared with.
    pub comparand: Comparand,
}

/// The value that an argument is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Comparand {
    /// A constant of the kernel.
    Constant(u64),
    /// A bound that depends on the caller, as in a small process.
    Bound(u64),
    /// The highest address of a buffer in user memory whose length is the next argument (`access_ok`).
    Room,
}

const fn constant(size: CmpSize, value: u64) -> ArgTest {
    ArgTest { size, shift: 0, comparand: Comparand::Constant(size.truncate(value)) }
}

/// Compares an `int` or `unsigned int` with a constant.
pub(super) const fn int(value: i64) -> ArgTest {
    constant(CmpSize::Four, value as u64)
}

/// Compares a `long`, `size_t` or `loff_t` with a constant.
pub(super) const fn long(value: u64) -> ArgTest {
    constant(CmpSize::Eight, value)
}

/// Compares a `umode_t` with a constant.
pub(super) const fn short(value: u64) -> ArgTest {
    constant(CmpSize::Two, value)
}

/// Compares the byte above the low `shift` bits with a constant.
pub(super) const fn byte(shift: u32, value: u8) -> ArgTest {
    ArgTest { size: CmpSize::One, shift, comparand: Comparand::Constant(value as u64) }
}

/// Compares an `int` with a bound that depends on the caller.
pub(super) const fn bound(value: u64) -> ArgTest {
    ArgTest { size: CmpSize::Four, shift: 0, comparand: Comparand::Bound(value) }
}

/// The result of a test. The operands fit into `size`.
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
    /// Returns whether clients keep the comparison: they discard equal operands and a first operand of 0.
    pub fn is_kept(&self) -> bool {
        self.arg1 != self.arg2 && self.arg1 != 0
    }
}

impl ArgTest {
    /// Compares the argument with index `at`.
    pub fn of(&self, args: &[u64; 6], at: usize) -> Comparison {
        let arg = |at: usize| args.get(at).copied().unwrap_or(0);
        let (constant, value) = match self.comparand {
            Comparand::Constant(value) => (true, value),
            Comparand::Bound(value) => (false, value),
            Comparand::Room => (false, TASK_SIZE.saturating_sub(arg(at + 1))),
        };
        let arg2 = self.size.truncate(arg(at) >> self.shift);
        Comparison { size: self.size, constant, arg1: value, arg2 }
    }
}
