//! Settings that only tenants of a service have: a user, a working directory and an output. They are not part
//! of a shell's job.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, chdir, dup2_stderr, dup2_stdout, setgroups, setresgid, setresuid};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::journal;
use crate::sys::privilege;

/// `CAP_SYS_ADMIN` (`include/uapi/linux/capability.h`), as a set.
const SYS_ADMIN: u64 = 1 << 21;

/// User and groups of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
    /// Supplementary groups.
    pub groups: Vec<Gid>,
}

/// Where the command's standard output and error go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Output {
    /// To those of the service. If that is the journal, the tenant gets its own stream.
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// To this file, which is appended to.
    File(PathBuf),
}

/// Settings of a tenant of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the tenant.
    pub name: String,
    /// User and groups of the command, if they differ from those of the service.
    pub identity: Option<Identity>,
    /// Working directory of the command.
    pub directory: PathBuf,
    /// Where its output goes.
    pub output: Output,
}

/// A failed step and its errno.
pub type Step = (String, Errno);

fn step(step: &'static str) -> impl FnOnce(Errno) -> Step {
    move |errno| (step.to_owned(), errno)
}

impl Service {
    /// The user of the command, if it is not that of the service.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.identity.as_ref().map(|identity| identity.uid.as_raw())
    }

    /// Redirects standard output and error. Must be called before privileges are dropped.
    ///
    /// # Errors
    /// The failed step.
    pub fn place_output(&self) -> Result<(), Step> {
        let file = match &self.output {
            Output::Inherit => match journal::stream(&self.name).filter(|_| journal::is_stderr()) {
                Some(stream) => stream,
                None => return Ok(()),
            },
            Output::Null => open_output(&PathBuf::from("/dev/null"), OFlag::O_WRONLY)?,
            Output::File(path) => open_file(path)?,
        };
        dup2_stdout(&file).and_then(|()| dup2_stderr(&file)).map_err(step("dup2 of the output"))
    }

    /// Changes to the user and groups of the command, then to its directory. CAP_SYS_ADMIN, which is needed
    /// to install a filter, is kept until `execve` drops it for all users but root. The alternative,
    /// `no_new_privs`, would break setuid programs.
    ///
    /// # Errors
    /// The failed step.
    pub fn take_identity(&self) -> Result<(), Step> {
        if let Some(Identity { uid, gid, groups }) = &self.identity {
            setgroups(groups).map_err(step("setgroups"))?;
            setresgid(*gid, *gid, *gid).map_err(step("setresgid"))?;
            // Otherwise setresuid would clear the permitted set (cap_emulate_setxuid, security/commoncap.c).
            nix::sys::prctl::set_keepcaps(true).map_err(step("prctl(PR_SET_KEEPCAPS)"))?;
            setresuid(*uid, *uid, *uid).map_err(step("setresuid"))?;
            if !uid.is_root() {
                privilege::set_capabilities(SYS_ADMIN).map_err(step("capset"))?;
            }
        }
        chdir(&self.directory).map_err(|errno| (format!("directory {}", self.directory.display()), errno))
    }
}

/// Opens a log file for appending. No symbolic link in its path is followed: the tenant may own the
/// directory, and must not be able to redirect the output to another file.
fn open_file(path: &PathBuf) -> Result<OwnedFd, Step> {
    let named = |errno| (format!("output {}", path.display()), errno);
    let file = open_output(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK)?;
    let facts = fstat(&file).map_err(named)?;
    // A pipe that nobody reads would block the command.
    match facts.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() {
        false => Err(named(Errno::EINVAL)),
        // Another name of the file, perhaps that of another user.
        true if facts.st_nlink > 1 => Err(named(Errno::EMLINK)),
        true => Ok(file),
    }
}

/// Opens the file for the counters of a run, and truncates it.
///
/// # Errors
/// The failed step.
pub fn open_report(path: &PathBuf) -> Result<OwnedFd, Step> {
    let named = |errno| (format!("output {}", path.display()), errno);
    let file = open_output(path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK)?;
    let facts = fstat(&file).map_err(named)?;
    if facts.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() {
        if facts.st_nlink > 1 {
            return Err(named(Errno::EMLINK));
        }
        nix::unistd::ftruncate(&file, 0).map_err(named)?;
    }
    Ok(file)
}

fn open_output(path: &PathBuf, flags: OFlag) -> Result<OwnedFd, Step> {
    /// Writable by its owner and readable by the group: the content may be confidential.
    const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP);
    let mode = if flags.contains(OFlag::O_CREAT) { MODE } else { Mode::empty() };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(nix::fcntl::AT_FDCWD, path, how).map_err(|errno| (format!("output {}", path.display()), errno))
}
