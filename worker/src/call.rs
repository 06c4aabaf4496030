//! A system call of the tenant, as the notification tells it.

use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use libseccomp::ScmpArch;

/// Which table a system call number counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// The machine's own (`x86_64`, `aarch64`).
    Native,
    /// `int 0x80` and 32-bit programs on `x86_64`.
    I386,
    /// The x32 numbers of `x86_64`.
    X32,
    /// An architecture that this build does not know.
    Foreign,
}

/// `AUDIT_ARCH_*` of this machine (`include/uapi/linux/audit.h`).
#[cfg(target_arch = "x86_64")]
const AUDIT_NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of this machine (`include/uapi/linux/audit.h`).
#[cfg(target_arch = "aarch64")]
const AUDIT_NATIVE: u32 = 0xc000_00b7;
/// `AUDIT_ARCH_I386`.
const AUDIT_I386: u32 = 0x4000_0003;
/// `__X32_SYSCALL_BIT`: set in all numbers of the x32 table, which is otherwise dense like the others.
pub(crate) const X32_BIT: i32 = 0x4000_0000;

impl Abi {
    /// The table of a number, by the architecture that the notification tells.
    #[must_use]
    pub fn of(arch: u32, number: i32) -> Self {
        match arch {
            AUDIT_NATIVE if cfg!(target_arch = "x86_64") && number & X32_BIT != 0 => Abi::X32,
            AUDIT_NATIVE => Abi::Native,
            AUDIT_I386 if cfg!(target_arch = "x86_64") => Abi::I386,
            _ => Abi::Foreign,
        }
    }

    /// The table's number in the journal and in the C interface; 0 for a foreign one, which no handler claims.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Abi::Native | Abi::Foreign => 0,
            Abi::I386 => 1,
            Abi::X32 => 2,
        }
    }

    /// The table of that number.
    #[must_use]
    pub fn numbered(number: u32) -> Option<Self> {
        [Abi::Native, Abi::I386, Abi::X32].into_iter().find(|abi| abi.number() == number)
    }

    /// The architecture as a notification tells it; 0 for a foreign one.
    fn audit(self) -> u32 {
        match self {
            Abi::Native | Abi::X32 => AUDIT_NATIVE,
            Abi::I386 => AUDIT_I386,
            Abi::Foreign => 0,
        }
    }

    /// The architecture as libseccomp names it.
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

/// One checked call: plain values, copied once out of the notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Id of the notification on its listener.
    pub id: u64,
    /// Calling thread.
    pub tid: u32,
    /// Table that `number` counts in.
    pub abi: Abi,
    /// System call number, as the table counts (x32 numbers with their bit).
    pub number: i32,
    /// Argument registers, all 64 bits.
    pub args: [u64; 6],
}

impl Call {
    /// An open of a handler's device, of which only the reader has seen how it was spelled: `openat` stands for all.
    #[must_use]
    pub fn open(id: u64, tid: u32, flags: u32) -> Self {
        let args = [0, 0, u64::from(flags), 0, 0, 0];
        Call { id, tid, abi: Abi::Native, number: libc::SYS_openat as i32, args }
    }

    /// Shows the call in the slot, as the kernel shows one that it hands over.
    pub fn show(&self, words: &[AtomicU64]) {
        let store = |at: usize, word| words[slot::NOTIFICATION + at].store(word, Ordering::Relaxed);
        store(1, u64::from(self.tid));
        store(2, u64::from(self.abi.audit()) << 32 | u64::from(self.number.cast_unsigned()));
        // Word 3 is the instruction pointer.
        self.args.iter().enumerate().for_each(|(i, &arg)| store(4 + i, arg));
        // Last: with the id the call is there.
        store(0, self.id);
    }

    /// Copies the notification out of the slot, each word once.
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
