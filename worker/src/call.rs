//! A system call of the tenant, as decoded from its notification.

use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use libseccomp::ScmpArch;

/// A system call table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// The machine's own table (`x86_64`, `aarch64`).
    Native,
    /// Table of `int 0x80` and of 32-bit programs on `x86_64`.
    I386,
    /// Table of x32 programs on `x86_64`.
    X32,
    /// Table of an architecture that this build does not support.
    Foreign,
}

/// `AUDIT_ARCH_*` of this machine (include/uapi/linux/audit.h).
#[cfg(target_arch = "x86_64")]
const AUDIT_NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of this machine (include/uapi/linux/audit.h).
#[cfg(target_arch = "aarch64")]
const AUDIT_NATIVE: u32 = 0xc000_00b7;
/// `AUDIT_ARCH_I386`.
const AUDIT_I386: u32 = 0x4000_0003;
/// `__X32_SYSCALL_BIT`: set in all numbers of the x32 table. The other bits count like those of the other
/// tables.
pub(crate) const X32_BIT: i32 = 0x4000_0000;

impl Abi {
    /// The system call tables of this machine.
    pub fn of_machine() -> impl Iterator<Item = Self> {
        let known = |abi: &Abi| *abi == Abi::Native || cfg!(target_arch = "x86_64");
        [Abi::Native, Abi::I386, Abi::X32].into_iter().filter(known)
    }

    /// The table of `number` in a notification with this `AUDIT_ARCH_*` value.
    #[must_use]
    pub fn of(arch: u32, number: i32) -> Self {
        match arch {
            AUDIT_NATIVE if cfg!(target_arch = "x86_64") && number & X32_BIT != 0 => Abi::X32,
            AUDIT_NATIVE => Abi::Native,
            AUDIT_I386 if cfg!(target_arch = "x86_64") => Abi::I386,
            _ => Abi::Foreign,
        }
    }

    /// Number of the table in the journal and in the C interface. 0 for a foreign one, which no handler can
    /// claim.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Abi::Native | Abi::Foreign => 0,
            Abi::I386 => 1,
            Abi::X32 => 2,
        }
    }

    /// The table with this number.
    #[must_use]
    pub fn numbered(number: u32) -> Option<Self> {
        [Abi::Native, Abi::I386, Abi::X32].into_iter().find(|abi| abi.number() == number)
    }

    /// The `AUDIT_ARCH_*` value; 0 for a foreign table.
    fn audit(self) -> u32 {
        match self {
            Abi::Native | Abi::X32 => AUDIT_NATIVE,
            Abi::I386 => AUDIT_I386,
            Abi::Foreign => 0,
        }
    }

    /// The architecture in libseccomp; `None` for a foreign table.
    #[must_use]
    pub fn arch(self) -> Option<ScmpArch> {
        match self {
            Abi::Native => Some(ScmpArch::Native),
            Abi::I386 => Some(ScmpArch::X86),
            Abi::X32 => Some(ScmpArch::X32),
            Abi::Foreign => None,
        }
    }
}

/// A system call: plain values, copied once from the notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Id of the notification.
    pub id: u64,
    /// Calling thread, in the PID namespace of the listener's creator.
    pub tid: u32,
    /// Table of `number`.
    pub abi: Abi,
    /// System call number in that table; x32 numbers include their bit.
    pub number: i32,
    /// Argument registers, all 64 bits.
    pub args: [u64; 6],
}

impl Call {
    /// An open of a handler's device. Only the reader has seen which open call it was; `openat` stands for
    /// all.
    #[must_use]
    pub fn open(id: u64, tid: u32, flags: u32) -> Self {
        let args = [0, 0, u64::from(flags), 0, 0, 0];
        Call { id, tid, abi: Abi::Native, number: libc::SYS_openat as i32, args }
    }

    /// Stores the call in the slot as the kernel stores a notification.
    pub fn show(&self, words: &[AtomicU64]) {
        let store = |at: usize, word| words[slot::NOTIFICATION + at].store(word, Ordering::Relaxed);
        store(1, u64::from(self.tid));
        store(2, u64::from(self.abi.audit()) << 32 | u64::from(self.number.cast_unsigned()));
        // Word 3 is the instruction pointer.
        self.args.iter().enumerate().for_each(|(i, &arg)| store(4 + i, arg));
        // Stored last: the id makes the call visible.
        store(0, self.id);
    }

    /// Copies the call from the slot, reading each word once.
    #[must_use]
    pub fn from_slot(words: &[AtomicU64]) -> Self {
        let word = |at: usize| words[slot::NOTIFICATION + at].load(Ordering::Relaxed);
        let numbers = word(2);
        let number = numbers as i32;
        Call {
            id: word(0),
            tid: word(1) as u32,
            abi: Abi::of((numbers >> 32) as u32, number),
            number,
            // Word 3 is the instruction pointer.
            args: std::array::from_fn(|i| word(4 + i)),
        }
    }
}
