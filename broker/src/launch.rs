//! What a tenant is started with. It is complete before anything is forked, and every process of the run
//! inherits it.

pub mod cgroup;
pub mod descriptor_limit;
pub mod folder;
pub mod handlers;
pub mod journal;
pub mod parse;
pub mod preload;
pub mod programs;
pub mod publication;
pub mod quotas;
pub mod rootless;
pub mod service;
pub mod trace_set;
pub mod trial;
pub mod worker_uids;

pub use trace_set::call_name;

use crate::sys::title;
use kcov_proto::device::Rules;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, setpgid, setsid};
use publication::Publication;
use quotas::Quotas;
use rootless::Shown;
use service::Service;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use trace_set::TraceSet;

/// A KCOV request or behaviour that current kernels do not have, as operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Extension {
    /// None of reset and unique: both fail with ENOTTY, as in current kernels
    None,
    /// KCOV_RESET_TRACE by the collecting thread
    Reset,
    /// KCOV_UNIQUE_ENABLE
    Unique,
    /// KCOV_RESET_TRACE by any holder of the descriptor
    ResetByAny,
    /// KCOV_ENABLE of one instance by several threads
    Shared,
}

/// What the device does beyond current kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extensions {
    /// `KCOV_RESET_TRACE` by the collecting thread.
    pub reset: bool,
    /// `KCOV_RESET_TRACE` by any holder of the descriptor.
    pub reset_by_any: bool,
    /// `KCOV_UNIQUE_ENABLE`.
    pub unique: bool,
    /// `KCOV_ENABLE` of one instance by several threads.
    pub shared: bool,
}

impl Extensions {
    /// The default.
    pub const DEFAULT: [Extension; 2] = [Extension::Reset, Extension::Unique];

    /// The extensions in a list. `reset-by-any` and `shared` do not choose the requests that are answered: if
    /// the list has no others, they are added to the default.
    #[must_use]
    pub fn of(list: &[Extension]) -> Self {
        let has = |extension| list.contains(&extension);
        let adds = |extension: &Extension| matches!(extension, Extension::ResetByAny | Extension::Shared);
        let by_default = !list.is_empty() && list.iter().all(adds);
        Extensions {
            reset: by_default || has(Extension::Reset) || has(Extension::ResetByAny),
            reset_by_any: has(Extension::ResetByAny),
            unique: by_default || has(Extension::Unique),
            shared: has(Extension::Shared),
        }
    }
}

/// The kernel whose rules hold for the instances of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KcovRules {
    /// Linux 6.12: a thread owns at most one instance
    #[value(name = "6.12")]
    V6_12,
    /// Linux 7.2: a thread owns at most one instance by KCOV_ENABLE and another by KCOV_REMOTE_ENABLE
    #[default]
    #[value(name = "7.2")]
    V7_2,
}

impl From<KcovRules> for Rules {
    fn from(rules: KcovRules) -> Self {
        match rules {
            KcovRules::V6_12 => Rules::V6_12,
            KcovRules::V7_2 => Rules::V7_2,
        }
    }
}

/// What happens to the command if its broker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnBrokerDeath {
    /// All its processes are killed
    #[default]
    Stop,
    /// It keeps running, and each traced call fails with ENOSYS, as the kernel does when a listener is gone
    Enosys,
}

/// A command and how it is run.
#[derive(Debug)]
pub struct Launch {
    /// The file to execute.
    pub program: CString,
    /// Its arguments. The first one is the command as the user wrote it.
    pub argv: Vec<CString>,
    /// Its environment.
    pub environment: Vec<CString>,
    /// System calls that go to the workers.
    pub trace: TraceSet,
    /// The worker program.
    pub worker: CString,
    /// Arguments of the worker program that name the handlers: `--handler=PATH[:CONFIG]`.
    pub handlers: Vec<CString>,
    /// Process group that the command joins.
    pub group: Pid,
    /// Signal mask of the command.
    pub mask: SigSet,
    /// Longest time that a caller waits for its answer.
    pub deadline: Duration,
    /// Quotas.
    pub quotas: Quotas,
    /// The kernel whose rules hold for the instances of one thread.
    pub kcov_rules: KcovRules,
    /// What the device does beyond current kernels.
    pub extensions: Extensions,
    /// uid and gid of zygote and workers. Without root, those of the user.
    pub jail_id: u32,
    /// Bytes of data that each worker, and the zygote, may allocate. Not applied to workers with
    /// AddressSanitizer, whose shadow memory exceeds any useful bound.
    pub worker_memory: Option<u64>,
    /// Where to make a control group for zygote and workers.
    pub cgroup: Option<cgroup::Plan>,
    /// Libraries that the worker program must load first: the runtimes of sanitizers.
    pub preload: Option<CString>,
    /// Directory for crash artifacts.
    pub artifacts: Option<PathBuf>,
    /// The coverage map, if the run accumulates coverage.
    pub cover: Option<OwnedFd>,
    /// Whether the command sees a `/proc/kallsyms` with the text range of its PCs.
    pub kallsyms: bool,
    /// How the tenant appears in `kcov-broker top` and `status`.
    pub publication: Option<Publication>,
    /// Without root: the ids that the command sees as its own.
    pub rootless: Option<Shown>,
    /// What happens to the command if its broker is killed.
    pub on_broker_death: OnBrokerDeath,
    /// Settings that only tenants of a service have.
    pub service: Option<Service>,
}

impl Launch {
    /// Whether processes that the command leaves in the background are killed when it ends. In a shell's job
    /// they keep running, as they would without a broker.
    #[must_use]
    pub fn ends_as_one(&self) -> bool {
        self.service.is_some()
    }

    /// Names this process, which serves the command. For a tenant of a service it also sets the command line
    /// that `ps` shows, which would otherwise be that of the service.
    pub fn name_process(&self, name: &CStr) {
        if let Some(service) = &self.service {
            title::set(&format!("{}: {}", name.to_string_lossy(), service.name));
        }
        // The name is only for people.
        let _ = nix::sys::prctl::set_name(name);
    }

    /// Moves the broker's process out of the terminal's job, so that signals from the keyboard only reach the
    /// command. A tenant of a service gets its own session: where the kernel shares processors by session
    /// (`CONFIG_SCHED_AUTOGROUP`), a tenant and its helpers then count as one.
    pub fn leave_job(&self) {
        match self.service {
            // EPERM: the process leads a session already.
            Some(_) => drop(setsid()),
            None => drop(setpgid(Pid::from_raw(0), Pid::from_raw(0))),
        }
    }

    /// The user of the command, if it is not that of the broker.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.service.as_ref().and_then(Service::user)
    }

    /// A worker measures one of this many notifications; 0 if it measures none.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.publication.as_ref().map_or(0, |publication| publication.timed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[Extension]) -> [bool; 4] {
        let Extensions { reset, reset_by_any, unique, shared } = Extensions::of(list);
        [reset, reset_by_any, unique, shared]
    }

    #[test]
    fn shared_and_reset_by_any_are_added_to_the_default() {
        use Extension::{None, Reset, ResetByAny, Shared, Unique};
        assert_eq!(of(&Extensions::DEFAULT), [true, false, true, false]);
        assert_eq!(of(&[Shared]), [true, false, true, true]);
        assert_eq!(of(&[ResetByAny]), [true, true, true, false]);
        assert_eq!(of(&[ResetByAny, Shared]), [true, true, true, true]);
        assert_eq!(of(&[Reset]), [true, false, false, false]);
        assert_eq!(of(&[Unique, Shared]), [false, false, true, true]);
        assert_eq!(of(&[None]), [false; 4]);
        assert_eq!(of(&[]), [false; 4]);
        assert_eq!(of(&[None, Shared]), [false, false, false, true]);
    }
}
