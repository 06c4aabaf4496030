//! Loading the handlers: libraries of the user's, and what all of them claim.

use crate::handler::Handler;
use crate::handlers::Handlers;
use crate::sys::library::{self, LibraryError};
use crate::sys::sancov;
use kcov_proto::claims::ClaimError;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// Why the handlers are not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened.
    #[error("the handler {}: {error}", path.display())]
    Open {
        /// It.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The user that workers run as may not read it.
    #[error("the handler {}: workers have a user of their own, who may not read it: chmod a+r", path.display())]
    Unreadable {
        /// It.
        path: PathBuf,
    },
    /// It is no handler.
    #[error("the handler {}: {error}", path.display())]
    Library {
        /// It.
        path: PathBuf,
        /// What is wrong.
        error: LibraryError,
    },
    /// What a handler wants cannot be had.
    #[error(transparent)]
    Claims(#[from] ClaimError),
    /// A library has started threads, which workers would not have.
    #[error("a handler has started threads while it was loaded: workers are forked, and would not have them")]
    Threads,
}

/// A library with a handler, as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// What its entry function is given; empty if nothing was said.
    pub config: CString,
}

/// A library whose file is open.
#[derive(Debug)]
pub struct Opened {
    library: Library,
    /// Its file.
    pub file: OwnedFd,
}

impl AsRawFd for Opened {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Library {
    /// From `PATH[:CONFIG]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (path, config) = text.split_once(':').unwrap_or((text, ""));
        Some(Library { path: PathBuf::from(path), config: CString::new(config).ok()? })
    }

    /// Opens the file, with the rights that the zygote starts with.
    ///
    /// # Errors
    /// [`LoadError::Open`].
    pub fn open(&self) -> Result<Opened, LoadError> {
        let opened = File::open(&self.path);
        let file = opened.map_err(|error| LoadError::Open { path: self.path.clone(), error })?;
        Ok(Opened { library: self.clone(), file: file.into() })
    }
}

impl Opened {
    /// The path, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.library.path.display().to_string()
    }

    /// Loads it: its constructors and its entry function run.
    ///
    /// # Errors
    /// [`LoadError::Library`].
    pub fn load(self) -> Result<Box<dyn Handler>, LoadError> {
        let Opened { library: Library { path, config }, file } = self;
        // By its name where that leads there, so that libraries beside it are found; who may not go there any more goes
        // by the descriptor.
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let reachable = File::open(&path).is_ok();
        if !reachable && File::open(&by_descriptor).is_err() {
            return Err(LoadError::Unreadable { path });
        }
        let loaded = library::load(if reachable { &path } else { &by_descriptor }, &config);
        loaded.map_err(|error| LoadError::Library { path, error })
    }
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir(Path::new("/proc/self/task")).map_or(1, Iterator::count)
}

/// Takes in the claims of all handlers, and gives their instrumented code its PCs.
///
/// # Errors
/// [`LoadError`].
pub fn finish(handlers: Vec<Box<dyn Handler>>) -> Result<Handlers, LoadError> {
    let handlers = Handlers::new(handlers)?;
    sancov::settle();
    if threads() == 1 { Ok(handlers) } else { Err(LoadError::Threads) }
}
