//! Where the control socket is, who may have made it, and who may connect.

use crate::sys::named_socket;
use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Name of the socket, and of its directory below the one for what lives as long as the machine or the session.
const NAME: &str = "kcov-broker/control";

/// The socket of the caller's own `serve`, where the configuration names none.
///
/// # Errors
/// If an ordinary user's session has no directory for it.
pub fn default_path() -> anyhow::Result<PathBuf> {
    if geteuid().is_root() {
        return Ok(Path::new("/run").join(NAME));
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let directory = directory.context(
        "there is no place for the control socket of your own service, as XDG_RUNTIME_DIR is not set: set it, or give \
         a path (`socket` in [serve], and --socket); the system's service is for root: use sudo",
    )?;
    Ok(Path::new(&directory).join(NAME))
}

/// The server's end. Dropping it removes the socket.
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
    /// Listens at `path`, in place of a server that is dead.
    ///
    /// # Errors
    /// If a server lives there, or others can reach its directory.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let directory = path.parent().context("the path of the control socket has no directory")?;
        let made_directory = prepare(directory)?;
        let open = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
        // Of two that start at once, the second one sees the first one's socket.
        let _turn =
            Flock::lock(open, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("flock")?;
        match named_socket::connect_to(path) {
            Err(Errno::ENOENT) => {}
            // Nobody listens: what is there was left by one that was killed.
            Err(Errno::ECONNREFUSED) => {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove the stale {}", path.display()))?;
            }
            Ok(_) | Err(Errno::EAGAIN) => bail!(
                "kcov-broker serve runs already, with the control socket {}: stop it, or give this one another \
                 `socket` in [serve]",
                path.display()
            ),
            Err(errno) => bail!("cannot use {} as control socket: {}", path.display(), errno.desc()),
        }
        let socket = named_socket::listen_at(path)
            .with_context(|| format!("cannot listen at {} (at most 107 bytes)", path.display()))?;
        Ok(ControlSocket { socket, path: path.to_path_buf(), made_directory })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next client that may speak; `None` if there is none, or one that may not.
    #[must_use]
    pub fn accept(&self) -> Option<OwnedFd> {
        let connection = named_socket::accept(self.socket.as_fd()).ok()?;
        let uid = named_socket::peer_uid(&connection).ok()?;
        let may = uid == 0 || uid == geteuid().as_raw();
        if !may {
            tracing::warn!(uid, "a user who may not control this service tried to");
        }
        may.then_some(connection)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ControlSocket { socket: _, path, made_directory } = self;
        // They may be gone: that is what is wanted.
        let _ = fs::remove_file(&*path);
        if *made_directory && let Some(directory) = path.parent() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the directory if it is not there. Says whether it did.
fn prepare(directory: &Path) -> anyhow::Result<bool> {
    let shown = directory.display();
    let made = match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot make {shown} for the control socket"));
        }
    };
    let facts = fs::metadata(directory).with_context(|| format!("cannot look at {shown}"))?;
    ensure!(facts.is_dir(), "{shown}, for the control socket, is no directory");
    ensure!(
        facts.uid() == geteuid().as_raw() && facts.mode() & 0o077 == 0,
        "others can reach {shown}, the directory of the control socket: make it this user's own (chown) and closed \
         (chmod 0700), or give a `socket` in another directory"
    );
    Ok(made)
}

/// A client's end.
///
/// # Errors
/// If nobody serves there, or not for this user.
pub fn connect(path: &Path) -> anyhow::Result<OwnedFd> {
    let shown = path.display();
    named_socket::connect_to(path).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => anyhow::anyhow!(
            "no kcov-broker serve listens at {shown}: start it (kcov-broker serve --config FILE), or name its socket \
             with --socket{}",
            if geteuid().is_root() { "" } else { "; the system's service is for root: use sudo" }
        ),
        Errno::EACCES => anyhow::anyhow!("{shown} is another user's: use sudo, or name your own with --socket"),
        errno => anyhow::anyhow!("cannot connect to {shown}: {}", errno.desc()),
    })
}
