//! Resource limits of a zygote and its workers.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

/// Limits, soft and hard alike, with the reason for each number. Not among them: `AS` (handlers differ; a memory cgroup is the better bound),
/// `CPU` (the broker's deadline is per call).
const LIMITS: &[(Resource, u64)] = &[
    // A core file would hold what the handlers know of the tenant, and takes longer than a caller may wait.
    (Resource::RLIMIT_CORE, 0),
    // The only files that grow are memfds that a handler makes for its caller.
    (Resource::RLIMIT_FSIZE, 64 * 1024 * 1024),
    // Listener, two sockets, slot, roster, standard streams, and an arena's descriptor until it is mapped.
    (Resource::RLIMIT_NOFILE, 64),
    // Nothing locks memory, queues messages or asks for a better place on the CPU.
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_NICE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
];

/// Most processes of the tenant's worker uid: the zygote, its workers, and those dead and not yet reaped.
const PROCESSES: u64 = 64;

/// Applies them. `own_user`: the uid is about to become one that nobody else has, so its processes can be counted;
/// rootless, all of the operator's processes would be.
///
/// # Errors
/// `EPERM` if a hard limit is below already and the process may not raise it.
pub fn apply(own_user: bool) -> Result<(), Errno> {
    let processes = own_user.then_some((Resource::RLIMIT_NPROC, PROCESSES));
    LIMITS.iter().copied().chain(processes).try_for_each(|(resource, most)| lower(resource, most))
}

/// Sets a limit, or leaves a hard one that is lower still.
fn lower(resource: Resource, most: u64) -> Result<(), Errno> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let most = most.min(hard);
    setrlimit(resource, most, most)
}
