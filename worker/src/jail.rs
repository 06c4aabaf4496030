//! The jail of a tenant's zygote and of its workers.
//!
//! Handlers are other people's code that emulates a kernel for a hostile caller: the jail assumes that they are
//! taken over. What is left to whoever takes one over is what a worker needs: answer its own tenant's
//! notifications, talk on the sockets that it inherited, compute, and end.
//!
//! Two layers, each locked for good:
//! - [`enter_zygote`], once in the exec'ed zygote, by the [`steps`]: descriptors, limits, namespaces, ids, capabilities;
//!   then the handlers are loaded; then an empty root, and a filter that allows forking workers;
//! - [`WorkerJail::enter`], in each worker after the fork: a second filter, without forking. The kernel runs both, and
//!   the stricter answer counts.
//!
//! A call that the [`rules`] do not list is not made and kills the process with `SIGSYS`, which the broker sees and
//! logs: it is a handler that does what handlers cannot, or one that was taken over. The signal has a handler, so that
//! the worker can say which call it was and where; a library that brings one of its own may live on, without the call.
//!
//! The environment of the zygote must not ask for backtraces (`RUST_BACKTRACE`): printing one opens files, and the
//! panic would end as `SIGSYS` instead of `SIGABRT`.

pub mod filter;
pub mod landlock;
pub mod limits;
pub mod namespaces;
pub mod root;
pub mod rules;
pub mod steps;

#[cfg(test)]
mod tests;

use crate::sys::jail as sys;
use filter::{FilterError, Program};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid};
use root::Keeper;
use rules::Who;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use steps::Step;

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
    /// Descriptors that stay open until all is loaded.
    pub keep_for_loading: Vec<RawFd>,
    /// Most bytes of data, heap and private memory, that the zygote and each worker may have.
    pub memory: Option<u64>,
}

/// Why a process is not jailed. It must end: some steps may have been done.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Workers never run as root.
    #[error("uid {uid} and gid {gid}: a worker runs as no root")]
    IsRoot {
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
    /// The machine gives no namespace, or lets nobody mount in it.
    #[error("{step}: {errno}: {}", namespaces::advice(*.errno))]
    Namespace {
        /// The call.
        step: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// A library brought memory that is data and code at once.
    #[error(
        "{mapping} can be written and executed: link handlers without an executable stack or segment of both kinds"
    )]
    WritableCode {
        /// Its line in `/proc/self/maps`.
        mapping: String,
    },
    /// The root was swapped, and is not this process's.
    #[error("the root is not empty: has a handler gone to another root while it was loaded?")]
    Root,
    /// Landlock is there and does not work.
    #[error("Landlock")]
    Landlock(#[source] ::landlock::RulesetError),
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

/// Jails the calling process as a tenant's zygote, by the [`steps`]. It must have one thread.
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
    let mut entering = Entering::new(config)?;
    entering.take(steps::BEFORE_LOADING)?;
    let loaded = load()?;
    entering.take(steps::AFTER_LOADING)?;
    Ok((entering.worker, loaded))
}

/// A zygote on its way into the jail.
#[derive(Debug)]
pub struct Entering {
    config: JailConfig,
    rootless: bool,
    zygote: Program,
    worker: WorkerJail,
    /// From its fork to the swap.
    keeper: Option<Keeper>,
}

impl Entering {
    fn new(config: &JailConfig) -> Result<Self, JailError> {
        let rootless = Uid::current().as_raw() == config.uid;
        if is_root(config, rootless) {
            return Err(JailError::IsRoot { uid: config.uid, gid: config.gid });
        }
        // First, while memory files can be made: libseccomp writes programs to descriptors.
        let zygote = filter::build_here(Who::Zygote)?;
        let worker = WorkerJail { program: filter::build_here(Who::Worker)?, zygote: Pid::this() };
        Ok(Entering { config: config.clone(), rootless, zygote, worker, keeper: None })
    }

    fn take(&mut self, steps: &[Step]) -> Result<(), JailError> {
        let rootless = self.rootless;
        steps.iter().filter(|step| step.whose.includes(rootless)).try_for_each(|step| (step.run)(self))
    }

    fn close_others(&mut self) -> Result<(), JailError> {
        let keep = [self.config.keep.as_slice(), &self.config.keep_for_loading].concat();
        sys::close_others(&keep).map_err(step("close descriptors"))
    }

    fn limit(&mut self) -> Result<(), JailError> {
        limits::apply(!self.rootless, self.config.memory).map_err(step("setrlimit"))
    }

    fn fork_keeper(&mut self) -> Result<(), JailError> {
        self.keeper = Some(Keeper::fork()?);
        Ok(())
    }

    fn become_user(&mut self) -> Result<(), JailError> {
        let (uid, gid) = (Uid::from_raw(self.config.uid), Gid::from_raw(self.config.gid));
        nix::unistd::setgroups(&[]).map_err(step("setgroups"))?;
        nix::unistd::setresgid(gid, gid, gid).map_err(step("setresgid"))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(step("setresuid"))
    }

    fn die_with_parent(&mut self) -> Result<(), JailError> {
        die_with(Pid::from_raw(self.config.parent.cast_signed()))
    }

    fn close_loaded(&mut self) -> Result<(), JailError> {
        let keeper = self.keeper.iter().map(|keeper| keeper.descriptor().as_raw_fd());
        // They are this process's own as long as no library has put something else in their place.
        let streams = (libc::STDIN_FILENO..=libc::STDERR_FILENO).filter(|&fd| leads_to_null(fd));
        let keep: Vec<RawFd> = self.config.keep.iter().copied().chain(keeper).chain(streams).collect();
        sys::close_others(&keep).map_err(step("close descriptors"))
    }

    fn empty_root(&mut self) -> Result<(), JailError> {
        self.keeper.take().map_or(Err(JailError::Root), Keeper::swap)
    }

    fn landlock(&mut self) -> Result<(), JailError> {
        landlock::deny_all().map(drop)
    }

    fn filter(&mut self) -> Result<(), JailError> {
        self.zygote.install().map_err(step("seccomp"))
    }
}

impl WorkerJail {
    /// Jails a worker, right after its fork from the zygote. Allocates nothing.
    ///
    /// # Errors
    /// [`JailError`], after which the process must end.
    pub fn enter(&mut self) -> Result<(), JailError> {
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

fn leads_to_null(fd: RawFd) -> bool {
    const NULL: libc::dev_t = libc::makedev(1, 3);
    let found = std::fs::metadata(format!("/proc/self/fd/{fd}"));
    found.is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == NULL)
}

/// Sees to it that no memory is data and code at once.
fn refuse_writable_code() -> Result<(), JailError> {
    let maps = std::fs::read_to_string("/proc/self/maps");
    let maps = maps.map_err(|_| JailError::Step { step: "read of /proc/self/maps", errno: Errno::last() })?;
    let both = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.contains("wx"));
    match maps.lines().find(both) {
        Some(line) => Err(JailError::WritableCode { mapping: line.to_owned() }),
        None => Ok(()),
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

fn drop_capabilities() -> Result<(), JailError> {
    sys::set_capabilities(0).map_err(step("capset"))
}

fn forbid_new_privileges() -> Result<(), JailError> {
    nix::sys::prctl::set_no_new_privs().map_err(step("prctl(PR_SET_NO_NEW_PRIVS)"))
}

fn hide() -> Result<(), JailError> {
    nix::sys::prctl::set_dumpable(false).map_err(step("prctl(PR_SET_DUMPABLE)"))
}

/// Has the kernel kill this process when the thread that forked it ends, and sees to it that it has not yet.
fn die_with(parent: Pid) -> Result<(), JailError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("prctl(PR_SET_PDEATHSIG)"))?;
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(JailError::Orphan) }
}
