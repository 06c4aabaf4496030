//! The jail of a tenant's zygote and of its workers.
//!
//! Handlers are third-party code that emulates a kernel for a hostile caller, so the jail assumes that an
//! attacker controls them. An attacker can then do what a worker needs: answer its own tenant's
//! notifications, use the sockets that it inherited, compute, and exit.
//!
//! Two permanent layers:
//! - [`enter_zygote`], once in the exec'ed zygote, by the [`steps`]: descriptors, limits, namespaces, ids,
//!   capabilities; then the handlers are loaded; then an empty root, and a filter that allows forking
//!   workers;
//! - [`WorkerJail::enter`], in each worker after the fork: a second filter, without forking. The kernel runs
//!   both filters and the stricter result counts.
//!
//! A call that the [`rules`] do not list is not made. It raises `SIGSYS`, which kills the process, and the
//! broker logs it: a handler did what handlers may not do, or an attacker controls it. A signal handler
//! records which call it was and where. A library that installs its own handler of `SIGSYS` survives, but the
//! call is not made either.
//!
//! The zygote's environment must not ask for backtraces (`RUST_BACKTRACE`): printing one opens files, so the
//! panic would end as `SIGSYS` instead of `SIGABRT`.

mod error;
pub mod landlock;
pub mod limits;
pub mod namespaces;
mod privileges;
pub mod root;
pub mod rules;
pub mod steps;

#[cfg(test)]
mod tests;

use error::step;
use kcov_sys::descriptors;
use kcov_sys::filter::{Bpf, install};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid};
use root::Keeper;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use steps::Step;

pub use error::JailError;

/// Ids of the zygote, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailConfig {
    /// User of the tenant's workers: not root, and not used for anything else. Rootless, the caller's own
    /// user; then the workers have a user namespace that maps no id.
    pub uid: u32,
    /// Its group, not root's; there are no supplementary groups. Rootless, groups stay as they are.
    pub gid: u32,
    /// Process that started the zygote; the zygote is killed when it ends. Passed by the parent: it may have
    /// ended before the zygote could call `getppid`.
    pub parent: u32,
    /// Descriptors that stay open. Of 0, 1 and 2, those that are not among them become `/dev/null`, so that
    /// panic messages do not go to a later descriptor.
    pub keep: Vec<RawFd>,
    /// Descriptors that stay open until the handlers are loaded.
    pub keep_for_loading: Vec<RawFd>,
    /// Most memory of the zygote and of each worker.
    pub memory: Option<limits::Memory>,
}

/// The second layer, prepared before the first one is in force: entering it allocates nothing.
#[derive(Debug)]
pub struct WorkerJail {
    program: Bpf,
    zygote: Pid,
}

/// Jails the calling process as a tenant's zygote, by the [`steps`]. It must have one thread.
///
/// `load` runs when the process has no rights any more but can still open files that every user may open: it
/// loads the handlers, which are third-party code.
///
/// # Errors
/// [`JailError`], or the error of `load`; the process must end then.
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

/// A zygote that is taking the steps into the jail.
#[derive(Debug)]
pub struct Entering {
    config: JailConfig,
    rootless: bool,
    zygote: Bpf,
    worker: WorkerJail,
    /// From its fork to the swap of the root.
    keeper: Option<Keeper>,
}

impl Entering {
    fn new(config: &JailConfig) -> Result<Self, JailError> {
        let rootless = Uid::current().as_raw() == config.uid;
        if is_root(config, rootless) {
            return Err(JailError::IsRoot { uid: config.uid, gid: config.gid });
        }
        // First, while memfds can be made: libseccomp writes programs to descriptors.
        let zygote = rules::filter(rules::ZYGOTE)?;
        let worker = WorkerJail { program: rules::filter(rules::WORKER)?, zygote: Pid::this() };
        Ok(Entering { config: config.clone(), rootless, zygote, worker, keeper: None })
    }

    fn take(&mut self, steps: &[Step]) -> Result<(), JailError> {
        let rootless = self.rootless;
        steps.iter().filter(|step| step.whose.includes(rootless)).try_for_each(|step| (step.run)(self))
    }

    fn close_others(&mut self) -> Result<(), JailError> {
        let keep = [self.config.keep.as_slice(), &self.config.keep_for_loading].concat();
        descriptors::close_others(&keep).map_err(step("close descriptors"))
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
        // Only those that are still /dev/null: a library may have replaced one.
        let streams = (libc::STDIN_FILENO..=libc::STDERR_FILENO).filter(|&fd| leads_to_null(fd));
        let keep: Vec<RawFd> = self.config.keep.iter().copied().chain(keeper).chain(streams).collect();
        descriptors::close_others(&keep).map_err(step("close descriptors"))
    }

    fn empty_root(&mut self) -> Result<(), JailError> {
        self.keeper.take().map_or(Err(JailError::Root), Keeper::swap)
    }

    fn landlock(&mut self) -> Result<(), JailError> {
        landlock::deny_all().map(drop)
    }

    fn filter(&mut self) -> Result<(), JailError> {
        enforce(&mut self.zygote)
    }
}

impl WorkerJail {
    /// Jails a worker, right after its fork from the zygote. Allocates nothing.
    ///
    /// # Errors
    /// [`JailError`], after which the process must end.
    pub fn enter(&mut self) -> Result<(), JailError> {
        die_with(self.zygote)?;
        enforce(&mut self.program)
    }
}

/// Installs one of the filters of [`rules`] in the calling process, permanently. Allocates nothing.
///
/// # Errors
/// [`JailError::Step`].
pub fn enforce(program: &mut Bpf) -> Result<(), JailError> {
    const NO_FLAGS: libc::c_ulong = 0;
    program.set_own_process();
    install(program, NO_FLAGS).map(drop).map_err(step("seccomp"))
}

/// Returns whether the ids are the machine's root. Rootless, root of a nested user namespace is allowed: it
/// is an ordinary user outside of that namespace, and has no id in the workers' own.
fn is_root(config: &JailConfig, rootless: bool) -> bool {
    /// Target of `/proc/self/ns/user` in the initial namespace (`PROC_USER_INIT_INO`,
    /// include/linux/proc_ns.h).
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

/// Has the kernel kill this process when the thread that forked it ends. Fails if it has already ended.
fn die_with(parent: Pid) -> Result<(), JailError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("prctl(PR_SET_PDEATHSIG)"))?;
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(JailError::Orphan) }
}
