//! Resource limits of a zygote and its workers.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

/// Limits, soft and hard alike, with the reason for each number. Not among them: `AS`, which would count the areas that
/// are mapped and belong to the tenant; `CPU` (the broker's deadline is per call).
pub const LIMITS: &[(Resource, u64)] = &[
    // A core file would hold what the handlers know of the tenant, and takes longer than a caller may wait.
    (Resource::RLIMIT_CORE, 0),
    // The only files that grow are memfds that a handler makes for its caller.
    (Resource::RLIMIT_FSIZE, 64 * 1024 * 1024),
    // Listener, two sockets, slot, roster, standard streams, and an arena's descriptor until it is mapped.
    (Resource::RLIMIT_NOFILE, 64),
    // The stack grows outside of what counts as data.
    (Resource::RLIMIT_STACK, 8 * 1024 * 1024),
    // Nothing locks memory, queues messages or asks for a better place on the CPU.
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_NICE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
];

/// Most processes of the tenant's worker uid: the zygote, its workers, and those dead and not yet reaped.
const PROCESSES: u64 = 64;

/// Data beyond which a process has the shadow memory of a sanitizer, which is mapped and mostly not there: AddressSanitizer
/// takes 2^44 bytes. No limit of data makes sense for it.
const SHADOW: u64 = 1 << 40;

/// Applies them. `own_user`: the uid is about to become one that nobody else has, so its processes can be counted;
/// rootless, all of the operator's processes would be. `memory`: most bytes of data.
///
/// # Errors
/// `EPERM` if a hard limit is below already and the process may not raise it.
pub fn apply(own_user: bool, memory: Option<u64>) -> Result<(), Errno> {
    let processes = own_user.then_some((Resource::RLIMIT_NPROC, PROCESSES));
    let data = memory.filter(|_| data() < SHADOW).map(|most| (Resource::RLIMIT_DATA, most));
    LIMITS.iter().copied().chain(processes).chain(data).try_for_each(|(resource, most)| lower(resource, most))
}

/// Bytes of data and stack that this process has mapped, or 0 if that is not to be known.
fn data() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Sets a limit, or leaves a hard one that is lower still.
fn lower(resource: Resource, most: u64) -> Result<(), Errno> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let most = most.min(hard);
    setrlimit(resource, most, most)
}
