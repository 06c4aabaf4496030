//! Loads handler libraries and collects the claims of all handlers.

use crate::handler::Handler;
use crate::handlers::Handlers;
use crate::sys::library::{self, LibraryError};
use crate::sys::sancov;
use kcov_proto::claims::ClaimError;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why the handlers cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened.
    #[error("cannot open the handler {}: {error}", path.display())]
    Open {
        /// Path of the library.
        path: PathBuf,
        /// Error of `open(2)`.
        error: std::io::Error,
    },
    /// The uid of the workers may not read the file.
    #[error("the handler {}: the workers' own user may not read it: run chmod a+r", path.display())]
    Unreadable {
        /// Path of the library.
        path: PathBuf,
    },
    /// The library cannot be loaded, or is not a handler.
    #[error("the handler {}: {error}", path.display())]
    Library {
        /// Path of the library.
        path: PathBuf,
        /// What is wrong with it.
        error: LibraryError,
    },
    /// The claims of a handler are refused.
    #[error(transparent)]
    Claims(#[from] ClaimError),
    /// A library has started threads. Forked workers would not have them.
    #[error(
        "a handler has started threads while it was loaded, but workers are forked and would not have them"
    )]
    Threads,
}

/// A handler library as given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Path of the library.
    pub path: PathBuf,
    /// Configuration string for the entry function; empty if none is given.
    pub config: CString,
}

/// A handler library whose file is open.
#[derive(Debug)]
pub struct OpenedLibrary {
    library: Library,
    /// The open file.
    pub file: OwnedFd,
}

impl AsRawFd for OpenedLibrary {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Library {
    /// Parses `PATH[:CONFIG]`. `None` if CONFIG contains a NUL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (path, config) = text.split_once(':').unwrap_or((text, ""));
        Some(Library { path: PathBuf::from(path), config: CString::new(config).ok()? })
    }

    /// Opens the file, with the privileges that the zygote starts with.
    ///
    /// # Errors
    /// [`LoadError::Open`].
    pub fn open(&self) -> Result<OpenedLibrary, LoadError> {
        let opened = open_plain(&self.path);
        let file = opened.map_err(|error| LoadError::Open { path: self.path.clone(), error })?;
        Ok(OpenedLibrary { library: self.clone(), file: file.into() })
    }
}

impl OpenedLibrary {
    /// The path for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.library.path.display().to_string()
    }

    /// Loads the library. Runs its constructors and its entry function.
    ///
    /// # Errors
    /// [`LoadError::Library`] or [`LoadError::Unreadable`].
    pub fn load(self) -> Result<Box<dyn Handler>, LoadError> {
        let OpenedLibrary { library: Library { path, config }, file } = self;
        // Load by path if it can still be reached, so that libraries next to it are found; else by
        // descriptor.
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let reachable = File::open(&path).is_ok();
        if !reachable && File::open(&by_descriptor).is_err() {
            return Err(LoadError::Unreadable { path });
        }
        let loaded = library::load(if reachable { &path } else { &by_descriptor }, &config);
        loaded.map_err(|error| LoadError::Library { path, error })
    }
}

/// Opens a regular file. Others could block here or while they are loaded.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Number of threads of this process.
fn thread_count() -> usize {
    std::fs::read_dir(Path::new("/proc/self/task")).map_or(1, Iterator::count)
}

/// Collects the claims of all handlers and assigns PCs to their instrumented code.
///
/// # Errors
/// [`LoadError::Claims`] or [`LoadError::Threads`].
pub fn finish(handlers: Vec<Box<dyn Handler>>) -> Result<Handlers, LoadError> {
    let handlers = Handlers::new(handlers)?;
    sancov::settle();
    if thread_count() == 1 { Ok(handlers) } else { Err(LoadError::Threads) }
}
