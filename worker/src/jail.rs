//! The jail of a tenant's zygote and of its workers.
//!
//! Handlers are other people's code that emulates a kernel for a hostile caller: the jail assumes that they are
//! taken over. What is left to whoever takes one over is what a worker needs: answer its own tenant's
//! notifications, talk on the sockets that it inherited, compute, and end.
//!
//! Two layers, each locked for good:
//! - [`enter_zygote`], once in the exec'ed zygote: descriptors, limits, ids, capabilities; then the handlers are loaded;
//!   then a filter that allows forking workers;
//! - [`WorkerJail::enter`], in each worker after the fork: a second filter, without forking. The kernel runs both, and
//!   the stricter answer counts.
//!
//! A call that the [`rules`] do not list kills the process with `SIGSYS`, which the broker sees and logs: it is a
//! handler that does what handlers cannot, or one that was taken over.
//!
//! The environment of the zygote must not ask for backtraces (`RUST_BACKTRACE`): printing one opens files, and the
//! panic would end as `SIGSYS` instead of `SIGABRT`.

pub mod filter;
pub mod limits;
pub mod rules;

#[cfg(test)]
mod tests;

use crate::sys::jail as sys;
use filter::{FilterError, Program};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid};
use rules::Who;
use std::os::fd::RawFd;

/// Who the zygote becomes and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailConfig {
    /// User that the tenant's workers run as; nobody else's, and not root. Rootless, the caller's own: the workers
    /// get a user namespace then, in which nobody has a number and nothing belongs to anybody.
    pub uid: u32,
    /// Its group, not root's; no supplementary groups besides. Rootless, groups stay as they are.
    pub gid: u32,
    /// Process that started the zygote, which is killed with it. The starter's own word, passed over the exec: what
    /// `getppid` says here may be a stranger already.
    pub parent: u32,
    /// Descriptors that stay open. 0, 1 and 2 lead to `/dev/null` if they are not among them, so that no descriptor
    /// that comes later takes the number that panic messages go to.
    pub keep: Vec<RawFd>,
}

/// Why a process is not jailed. It must end: some steps may have been done.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Workers never run as root.
    #[error("uid {uid} and gid {gid}: a worker runs as no root")]
    Root {
        /// As asked for.
        uid: u32,
        /// As asked for.
        gid: u32,
    },
    /// The filter could not be built.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A system call failed.
    #[error("{step}: {errno}")]
    Step {
        /// Which one.
        step: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// The process that started this one is gone.
    #[error("the parent process is gone")]
    Orphan,
}

fn step(step: &'static str) -> impl FnOnce(Errno) -> JailError {
    move |errno| JailError::Step { step, errno }
}

/// The second layer, made ready before the first one closed: entering it allocates nothing.
#[derive(Debug)]
pub struct WorkerJail {
    program: Program,
    zygote: Pid,
}

/// Jails the calling process as a tenant's zygote. It must have one thread.
///
/// `load` runs when the process has no rights any more, but may still open what everybody may: it loads other people's
/// code.
///
/// # Errors
/// [`JailError`], or what `load` says; the process must end then.
pub fn enter_zygote<T, E: From<JailError>>(
    config: &JailConfig,
    load: impl FnOnce() -> Result<T, E>,
) -> Result<(WorkerJail, T), E> {
    let (zygote, worker) = give_up_rights(config)?;
    let loaded = load()?;
    zygote.install().map_err(step("seccomp"))?;
    Ok((worker, loaded))
}

/// All of the jail but its filter. Returns the zygote's filter and the layer of the workers.
fn give_up_rights(config: &JailConfig) -> Result<(Program, WorkerJail), JailError> {
    let rootless = Uid::current().as_raw() == config.uid;
    if is_root(config, rootless) {
        return Err(JailError::Root { uid: config.uid, gid: config.gid });
    }
    // First, while memory files can be made: libseccomp writes programs to descriptors.
    let zygote = filter::build(Who::Zygote)?;
    let worker = WorkerJail { program: filter::build(Who::Worker)?, zygote: Pid::this() };
    sys::close_others(&config.keep).map_err(step("close descriptors"))?;
    // Before the uid changes: raising no limit needs a right, but the new uid's processes count at once.
    limits::apply(!rootless).map_err(step("setrlimit"))?;
    if rootless {
        // Who made the tenant's namespace has all capabilities there, unless he asks from another one that is no
        // parent of it (cap_capable, security/commoncap.c).
        unshare(CloneFlags::CLONE_NEWUSER).map_err(step("unshare(CLONE_NEWUSER)"))?;
    }
    drop_bounds()?;
    if !rootless {
        become_user(config)?;
    }
    // After the uid, which root alone can change; the bounding set is empty, so nothing brings them back.
    sys::set_capabilities(0).map_err(step("capset"))?;
    nix::sys::prctl::set_no_new_privs().map_err(step("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    // Nobody of the same uid may attach to a worker or read it through /proc.
    nix::sys::prctl::set_dumpable(false).map_err(step("prctl(PR_SET_DUMPABLE)"))?;
    // After the uid and the capabilities: a change of either clears it (commit_creds, kernel/cred.c).
    die_with(Pid::from_raw(config.parent.cast_signed()))?;
    Ok((zygote, worker))
}

impl WorkerJail {
    /// Jails a worker, right after its fork from the zygote. Allocates nothing.
    ///
    /// # Errors
    /// [`JailError`], after which the process must end.
    pub fn enter(&self) -> Result<(), JailError> {
        die_with(self.zygote)?;
        self.program.install().map_err(step("seccomp"))
    }
}

/// Whether this would be root, whose files and processes are the machine's. Rootless, the root of a user namespace is
/// an ordinary user outside of it, and nobody at all in the workers' own.
fn is_root(config: &JailConfig, rootless: bool) -> bool {
    /// Target of `/proc/self/ns/user` in the first namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
    const FIRST: &str = "user:[4026531837]";
    let nested = || std::fs::read_link("/proc/self/ns/user").is_ok_and(|target| target.as_os_str() != FIRST);
    match rootless {
        true => config.uid == 0 && !nested(),
        false => config.uid == 0 || config.gid == 0,
    }
}

/// Empties the bounding set and locks the rules that give root its capabilities. Root without the right to do it has
/// nothing that an exec could bring back but what the filter, which forbids exec, keeps away.
fn drop_bounds() -> Result<(), JailError> {
    if !sys::has_capability(sys::CAP_SETPCAP).map_err(step("capget"))? {
        return Ok(());
    }
    sys::drop_bounding_set().map_err(step("prctl(PR_CAPBSET_DROP)"))?;
    sys::clear_ambient_set().map_err(step("prctl(PR_CAP_AMBIENT)"))?;
    sys::lock_securebits().map_err(step("prctl(PR_SET_SECUREBITS)"))
}

/// Takes on the ids, in the order in which each step still may: groups, group, user.
fn become_user(config: &JailConfig) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(config.uid), Gid::from_raw(config.gid));
    nix::unistd::setgroups(&[]).map_err(step("setgroups"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(step("setresgid"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(step("setresuid"))
}

/// Has the kernel kill this process when the thread that forked it ends, and sees to it that it has not yet.
fn die_with(parent: Pid) -> Result<(), JailError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("prctl(PR_SET_PDEATHSIG)"))?;
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(JailError::Orphan) }
}
