//! What a tenant is started with; known before anything is forked and inherited by every process of the run.

pub mod call_name;
pub mod cgroup;
pub mod descriptor_limit;
pub mod journal;
pub mod preload;
pub mod quotas;
pub mod rootless;
pub mod service;
pub mod spelling;
pub mod trace_set;

use crate::launch::quotas::Quotas;
use crate::launch::rootless::Shown;
use crate::launch::trace_set::TraceSet;
use crate::live::Publication;
use crate::sys::title;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, setpgid, setsid};
use service::Service;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The proposals to the kernel that this device can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extensions {
    /// `KCOV_RESET_TRACE` by the collecting thread.
    pub reset: bool,
    /// `KCOV_RESET_TRACE` by any holder of the descriptor.
    pub reset_by_any: bool,
}

/// What becomes of a tenant whose broker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnBrokerDeath {
    /// Every process of it is killed
    #[default]
    Stop,
    /// It goes on, and each traced call gets ENOSYS, as the kernel answers when a listener is gone
    Enosys,
}

/// A command and how it is to run.
#[derive(Debug)]
pub struct Launch {
    /// The file to execute, as found in `PATH`.
    pub program: CString,
    /// Its arguments, the name as given first.
    pub argv: Vec<CString>,
    /// Its environment.
    pub environment: Vec<CString>,
    /// Which calls go to the workers.
    pub trace: TraceSet,
    /// The worker program.
    pub worker: CString,
    /// Libraries with handlers, as the worker program takes them: `--handler=PATH[:CONFIG]`.
    pub handlers: Vec<CString>,
    /// Process group that the command joins.
    pub group: Pid,
    /// Signal mask that the command gets.
    pub mask: SigSet,
    /// Longest that a caller waits.
    pub deadline: Duration,
    /// Bounds.
    pub quotas: Quotas,
    /// Proposals that the device answers.
    pub extensions: Extensions,
    /// uid and gid of zygote and workers; of a rootless run, the user's own.
    pub jail_id: u32,
    /// Most bytes of data that each worker, and the zygote, may have; not those built with a sanitizer, whose shadow
    /// memory is beyond all bounds.
    pub worker_memory: Option<u64>,
    /// Where a control group for zygote and workers is made, if one is.
    pub cgroup: Option<cgroup::Plan>,
    /// Libraries that the worker program needs before all others: a sanitizer's runtime.
    pub preload: Option<CString>,
    /// Where artifacts of crashes go, if they are wanted.
    pub artifacts: Option<PathBuf>,
    /// The coverage map of the run, if it accumulates what is covered.
    pub cover: Option<OwnedFd>,
    /// Whether the command sees a `/proc/kallsyms` of the text that PCs lie in.
    pub kallsyms: bool,
    /// What the operator's live view shows it as, if it does.
    pub publication: Option<Publication>,
    /// Of a rootless run: which ids the command sees as its own.
    pub rootless: Option<Shown>,
    /// What becomes of the command without its broker.
    pub on_broker_death: OnBrokerDeath,
    /// Of a tenant of a service: what it has instead of a job.
    pub service: Option<Service>,
}

impl Launch {
    /// Whether processes that the command left behind end with it. In a job they go on, as without a broker.
    #[must_use]
    pub fn ends_as_one(&self) -> bool {
        self.service.is_some()
    }
}

impl Launch {
    /// Gives this process, which serves the command, a name; as one of a service also what `ps` shows as its command, which
    /// would be that of the service.
    pub fn name_process(&self, name: &CStr) {
        if let Some(service) = &self.service {
            title::set(&format!("{}: {}", name.to_string_lossy(), service.name));
        }
        // Without a name it serves as well.
        let _ = nix::sys::prctl::set_name(name);
    }

    /// Takes this process, the broker's, out of the terminal's job: what its keys send is for the command. A tenant of a
    /// service has a session: where the kernel shares out processors by session (`CONFIG_SCHED_AUTOGROUP`), a tenant and
    /// its helpers have one share.
    pub fn leave_job(&self) {
        match self.service {
            // EPERM: it leads one already.
            Some(_) => drop(setsid()),
            None => drop(setpgid(Pid::from_raw(0), Pid::from_raw(0))),
        }
    }

    /// Of how many notifications a worker times one; 0 for none.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.publication.as_ref().map_or(0, |publication| publication.timed)
    }
}

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No folder of `PATH` has it.
    #[error("{}: command not found: no folder of PATH has it; install it, or give its path", .0.to_string_lossy())]
    NotFound(OsString),
    /// No such file.
    #[error("{}: command not found: there is no such file", .0.display())]
    NoFile(PathBuf),
    /// No such file, where a relative path leads that starts in the `directory` of a tenant.
    #[error(
        "{}: command not found: a path that does not begin with a slash starts in `directory`, here {}",
        .path.display(),
        .directory.display()
    )]
    NotFoundFrom {
        /// Where it leads.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// A file that cannot be executed.
    #[error("{}: {reason}", .path.display())]
    NotExecutable {
        /// It.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A NUL byte where none can be.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Where.
        what: &'static str,
    },
}

impl CommandError {
    /// The exit status that shells give it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            CommandError::NotFound(_) | CommandError::NoFile(_) | CommandError::NotFoundFrom { .. } => 127,
            CommandError::NotExecutable { .. } | CommandError::Nul { .. } => 126,
        }
    }
}

/// A C string of `bytes`.
///
/// # Errors
/// [`CommandError::Nul`].
pub fn c_string(bytes: &OsStr, what: &'static str) -> Result<CString, CommandError> {
    CString::new(bytes.as_bytes()).map_err(|_| CommandError::Nul { what })
}

/// The environment of this process, for `execve`.
#[must_use]
pub fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            CString::new(entry).ok()
        })
        .collect()
}

/// Finds the file that `execvp(3)` would execute for `command`, with this process's `PATH`.
///
/// # Errors
/// [`CommandError`] as a shell would say it.
pub fn find(command: &OsStr) -> Result<PathBuf, CommandError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    find_in(command, &path, Path::new(""))
}

/// As [`find`], with another `PATH` and from another directory.
///
/// # Errors
/// As there.
pub fn find_in(command: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, CommandError> {
    if command.as_bytes().contains(&b'/') {
        let program = directory.join(command);
        return executable(&program).map(|()| program);
    }
    let mut refused = None;
    for element in std::env::split_paths(path) {
        // An empty element means the current directory.
        let element = if element.as_os_str().is_empty() { Path::new(".") } else { &element };
        let candidate = directory.join(element).join(command);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(CommandError::NoFile(_)) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| CommandError::NotFound(command.into())))
}

fn executable(path: &Path) -> Result<(), CommandError> {
    let no = |reason| CommandError::NotExecutable { path: path.into(), reason };
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Err(no("is a directory")),
        Ok(facts) if facts.permissions().mode() & 0o111 == 0 => Err(no("not executable (chmod +x it)")),
        Ok(_) => {
            nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).map_err(|_| no("permission denied"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(no("permission denied")),
        Err(_) => Err(CommandError::NoFile(path.into())),
    }
}
