//! The control socket: its path, the checks of its directory, and the users who may connect.

use crate::sys::named_socket;
use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Path of the socket below the runtime directory of the machine or the session.
const NAME: &str = "kcov-broker/control";

/// The default path for the calling user.
///
/// # Errors
/// If the session of an ordinary user has no runtime directory.
pub fn default_path() -> anyhow::Result<PathBuf> {
    if geteuid().is_root() {
        return Ok(Path::new("/run").join(NAME));
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let directory = directory.context(
        "no default path for the control socket, because XDG_RUNTIME_DIR is not set: set it, or give a path (`socket` in \
         [serve], and --socket); the system service requires root: use sudo",
    )?;
    Ok(Path::new(&directory).join(NAME))
}

/// The server's socket. Dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    socket: OwnedFd,
    path: PathBuf,
    made_directory: bool,
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl ControlSocket {
    /// Listens at `path`. Replaces the socket of a dead server.
    ///
    /// # Errors
    /// If a server is running, or other users can access the directory.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let directory = path.parent().context("the path of the control socket has no directory")?;
        let made_directory = prepare(directory)?;
        let open = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
        // If two servers start at once, the second one sees the socket of the first one.
        let _turn =
            Flock::lock(open, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("flock")?;
        match named_socket::connect_to(path) {
            Err(Errno::ENOENT) => {}
            // Nobody listens: a server that was killed left the socket.
            Err(Errno::ECONNREFUSED) => {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove the stale {}", path.display()))?;
            }
            Ok(_) | Err(Errno::EAGAIN) => bail!(
                "kcov-broker serve is already running with the control socket {}: stop it, or set another `socket` in \
                 [serve]",
                path.display()
            ),
            Err(errno) => bail!("cannot use {} as control socket: {}", path.display(), errno.desc()),
        }
        let socket = named_socket::listen_at(path)
            .with_context(|| format!("cannot listen at {} (at most 107 bytes)", path.display()))?;
        Ok(ControlSocket { socket, path: path.to_path_buf(), made_directory })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts a client; `None` if there is none, or if it may not control the service.
    #[must_use]
    pub fn accept(&self) -> Option<OwnedFd> {
        let connection = named_socket::accept(self.socket.as_fd()).ok()?;
        let uid = named_socket::peer_uid(&connection).ok()?;
        let may = uid == 0 || uid == geteuid().as_raw();
        if !may {
            tracing::warn!(uid, "refused a user who may not control this service");
        }
        may.then_some(connection)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ControlSocket { socket: _, path, made_directory } = self;
        // Errors mean that the files are gone already.
        let _ = fs::remove_file(&*path);
        if *made_directory && let Some(directory) = path.parent() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the directory if it does not exist. Returns whether it did.
fn prepare(directory: &Path) -> anyhow::Result<bool> {
    let shown = directory.display();
    let made = match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {shown} for the control socket"));
        }
    };
    let facts = fs::metadata(directory).with_context(|| format!("cannot read the attributes of {shown}"))?;
    ensure!(facts.is_dir(), "{shown}, for the control socket, is not a directory");
    ensure!(
        facts.uid() == geteuid().as_raw() && facts.mode() & 0o077 == 0,
        "other users can access {shown}, the directory of the control socket: change its owner (chown) and mode (chmod 0700), \
         or set `socket` to a path in another directory"
    );
    Ok(made)
}

/// Connects to a server.
///
/// # Errors
/// If there is no server, or this user may not control it.
pub fn connect(path: &Path) -> anyhow::Result<OwnedFd> {
    let shown = path.display();
    named_socket::connect_to(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => anyhow::anyhow!(
            "no kcov-broker serve listens at {shown}: start it (kcov-broker serve --config FILE), or name its socket \
             with --socket{}",
            if geteuid().is_root() { "" } else { "; the system service requires root: use sudo" }
        ),
        Errno::EACCES => anyhow::anyhow!("{shown} belongs to another user: use sudo, or name your own socket with --socket"),
        errno => anyhow::anyhow!("cannot connect to {shown}: {}", errno.desc()),
    })
}
