//! What a tenant of a service has that the command of a terminal has not: an identity, a directory and an output of its
//! own, and no job.

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

/// Who a command runs as.
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
    /// Where those of the service go; into the journal by a stream of the tenant's own.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// To the end of this file.
    File(PathBuf),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the tenant.
    pub name: String,
    /// Who the command runs as, if it is another one than who starts it.
    pub identity: Option<Identity>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Where its output goes.
    pub output: Output,
}

/// A step that failed, with its errno.
pub type Step = (String, Errno);

fn step(step: &'static str) -> impl FnOnce(Errno) -> Step {
    move |errno| (step.to_owned(), errno)
}

impl Service {
    /// Puts the output in its place, while the right to open it is there.
    ///
    /// # Errors
    /// The step that failed.
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

    /// Takes the identity on, and goes to the directory as who it is then. The right to install a filter stays until
    /// the exec, which takes it from everybody but root: `no_new_privs` in its stead would cost the command its setuid
    /// programs.
    ///
    /// # Errors
    /// The step that failed.
    pub fn take_identity(&self) -> Result<(), Step> {
        if let Some(Identity { uid, gid, groups }) = &self.identity {
            setgroups(groups).map_err(step("setgroups"))?;
            setresgid(*gid, *gid, *gid).map_err(step("setresgid"))?;
            // Else the change of the uid would take the permitted set as well (cap_emulate_setxuid,
            // security/commoncap.c).
            nix::sys::prctl::set_keepcaps(true).map_err(step("prctl(PR_SET_KEEPCAPS)"))?;
            setresuid(*uid, *uid, *uid).map_err(step("setresuid"))?;
            if !uid.is_root() {
                privilege::set_capabilities(SYS_ADMIN).map_err(step("capset"))?;
            }
        }
        chdir(&self.directory).map_err(|errno| (format!("directory {}", self.directory.display()), errno))
    }
}

/// Opens a log file for appending. No link is followed, in no step of its path: the tenant may own the directory, and
/// must not have others' files written to.
fn open_file(path: &PathBuf) -> Result<OwnedFd, Step> {
    let named = |errno| (format!("output {}", path.display()), errno);
    let file = open_output(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK)?;
    let kind = fstat(&file).map_err(named)?.st_mode & SFlag::S_IFMT.bits();
    // A pipe that nobody reads would hold the command up.
    if kind == SFlag::S_IFREG.bits() { Ok(file) } else { Err(named(Errno::EINVAL)) }
}

/// Opens the file for the counts of a run, emptied.
///
/// # Errors
/// The step that failed.
pub fn open_report(path: &PathBuf) -> Result<OwnedFd, Step> {
    open_output(path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NONBLOCK)
}

fn open_output(path: &PathBuf, flags: OFlag) -> Result<OwnedFd, Step> {
    /// Its owner's, and for the group to read: what it says may be confidential.
    const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR).union(Mode::S_IRGRP);
    let mode = if flags.contains(OFlag::O_CREAT) { MODE } else { Mode::empty() };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(nix::fcntl::AT_FDCWD, path, how).map_err(|errno| (format!("output {}", path.display()), errno))
}
