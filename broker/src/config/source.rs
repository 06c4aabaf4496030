//! Where a text comes from.

use std::path::{Path, PathBuf};

/// The origin of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages.
    pub name: String,
    /// Directory that relative paths start in.
    pub directory: PathBuf,
}

impl Source {
    /// The file at `path`. Relative paths start in its directory.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let directory = full.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        Source { name: path.display().to_string(), directory }
    }
}
