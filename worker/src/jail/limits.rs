//! Resource limits of a zygote and its workers.
//!
//! Memory of a worker is bounded whatever kind it takes. `DATA` counts private memory, `STACK` the stack, and `AS`
//! everything that is mapped: also shared memory and maps of files. The filter ([`rules`](super::rules)) forbids
//! mappings that none of them counts as private memory (shared anonymous memory, huge pages, `MAP_GROWSDOWN`).
//! Contents of memfds that are not mapped are bounded by `NOFILE` and `FSIZE`.

use kcov_proto::cover_map;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

/// Limits, soft and hard, with the reason for each. `CPU` is not among them: the broker has a deadline for each
/// call.
pub const LIMITS: &[(Resource, u64)] = &[
    // A core file would contain data of the tenant, and writing it takes longer than a caller may wait.
    (Resource::RLIMIT_CORE, 0),
    // Only memfds that a handler makes for its caller grow.
    (Resource::RLIMIT_FSIZE, 64 * 1024 * 1024),
    // Listener, two sockets, slot, roster, standard streams, and an arena's descriptor until it is mapped.
    (Resource::RLIMIT_NOFILE, 64),
    // RLIMIT_DATA does not count the stack.
    (Resource::RLIMIT_STACK, 8 * 1024 * 1024),
    // Handlers do not lock memory, queue messages or raise their priority.
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_NICE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
];

/// Most processes of the tenant's worker uid: the zygote, its workers, and zombies.
const PROCESSES: u64 = 64;

/// Data beyond which a process has the shadow memory of a sanitizer, which is mapped and mostly not resident:
/// AddressSanitizer maps 2^44 bytes. Such a process gets no limit of data.
const SHADOW: u64 = 1 << 40;

/// Most bytes of address space besides data and areas: the programs and libraries that are loaded, the stack,
/// reservations of the memory allocator, the coverage map, and what is shared with the broker.
const OTHER_MAPPINGS: u64 = cover_map::BYTES as u64 + (1 << 30);

/// Most memory of a zygote and of each worker, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Data: heap and private memory.
    pub data: u64,
    /// Areas of the tenant, which a worker maps.
    pub areas: u64,
}

impl Memory {
    /// Most bytes of address space.
    #[must_use]
    pub fn address_space(self) -> u64 {
        self.data.saturating_add(self.areas).saturating_add(OTHER_MAPPINGS)
    }
}

/// Applies the limits. `own_user`: only this tenant's workers will have the uid, so `NPROC` counts them;
/// rootless, it would count all processes of the operator.
///
/// # Errors
/// `EPERM` if the hard limit is lower and the process may not raise it.
pub fn apply(own_user: bool, memory: Option<Memory>) -> Result<(), Errno> {
    let processes = own_user.then_some((Resource::RLIMIT_NPROC, PROCESSES));
    let memory = memory
        .filter(|_| data() < SHADOW)
        .into_iter()
        .flat_map(|most| [(Resource::RLIMIT_DATA, most.data), (Resource::RLIMIT_AS, most.address_space())]);
    LIMITS
        .iter()
        .copied()
        .chain(processes)
        .chain(memory)
        .try_for_each(|(resource, most)| lower(resource, most))
}

/// Returns the bytes of data and stack that this process has mapped, or 0 if procfs does not show them.
fn data() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Sets a limit, unless the hard limit is lower.
fn lower(resource: Resource, most: u64) -> Result<(), Errno> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let most = most.min(hard);
    setrlimit(resource, most, most)
}
