//! Memory: addresses, lengths, protections.

use super::argument::{ArgTest, Class, Comparand, TASK_SIZE, int, long};
use kcov_proto::area::CmpSize;

/// The address of a buffer whose length in bytes is the next argument.
pub const ROOM: Class = &[ArgTest { size: CmpSize::Eight, shift: 0, comparand: Comparand::Room }];
/// A length of memory: a page, a huge page, the whole address space.
pub const LENGTH: Class = &[long(0x1000), long(0x20_0000), long(TASK_SIZE)];
/// `PROT_*`.
pub const PROT: Class = &[
    long((libc::PROT_READ | libc::PROT_WRITE) as u64),
    long((libc::PROT_READ | libc::PROT_EXEC) as u64),
    long(libc::PROT_WRITE as u64),
    long(libc::PROT_GROWSDOWN as u64),
];
/// `MAP_*`.
pub const MAP: Class = &[
    long(libc::MAP_SHARED as u64),
    long((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64),
    long((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB) as u64),
    long((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN) as u64),
    long((libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC) as u64),
];
/// `MREMAP_*`.
pub const MREMAP: Class = &[long(1), long(3), long(5)];
/// `MADV_*`.
pub const MADVICE: Class = &[
    int(libc::MADV_DONTNEED as i64),
    int(libc::MADV_FREE as i64),
    int(libc::MADV_REMOVE as i64),
    int(libc::MADV_DONTFORK as i64),
    int(libc::MADV_MERGEABLE as i64),
    int(libc::MADV_HUGEPAGE as i64),
    int(libc::MADV_COLD as i64),
    int(libc::MADV_PAGEOUT as i64),
];
/// `MS_*` of `msync`.
pub const MSYNC: Class =
    &[int(libc::MS_ASYNC as i64), int(libc::MS_INVALIDATE as i64), int(libc::MS_SYNC as i64)];
/// Flags of `mlock2` and `mlockall`.
pub const MLOCK: Class = &[int(1), int(2), int(4)];
/// Modes of `mbind` and `set_mempolicy`.
pub const POLICY: Class = &[int(1), int(2), int(3), int(4), int(5)];
/// A memory protection key (`arch_max_pkey`).
pub const PKEY: Class = &[int(-1), int(16)];
/// `MFD_*`.
pub const MEMFD: Class = &[int(1), int(2), int(3), int(4), int(8)];
/// Flags of `userfaultfd`.
pub const USERFAULT: Class = &[int(1), int((1 | libc::O_CLOEXEC) as i64), int(libc::O_NONBLOCK as i64)];
/// Flags of `shmget`, `semget`, `msgget`.
pub const IPC_FLAGS: Class =
    &[int(libc::IPC_CREAT as i64), int((libc::IPC_CREAT | libc::IPC_EXCL) as i64), int(0o1666)];
/// Commands of `shmctl`, `semctl`, `msgctl`.
pub const IPC: Class = &[int(1), int(2), int(3), int(11), int(13)];
