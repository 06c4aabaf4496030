//! Finds and reads the source files of the handlers.

use crate::sys::plain_file;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Maximum number of bytes read of a source file; no hand-written file is larger.
const MAX_BYTES: u64 = 16 << 20;
/// Length to which a site cuts long paths, from the start ([`kcov_proto::site`]).
const CUT: usize = 104;

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file was read.
    Found {
        /// Its lines.
        lines: Vec<String>,
        /// Whether it was modified after the binary was built.
        newer: bool,
    },
    /// The file does not exist or cannot be read.
    Missing,
}

/// Finds source files by the paths in binaries.
#[derive(Debug)]
pub struct Sources {
    roots: Vec<PathBuf>,
    found: HashMap<String, String>,
    /// For each file, by full path: the build time of the oldest module with code from it.
    built: HashMap<String, SystemTime>,
}

impl Sources {
    /// Searches for relative paths in `directories`, then in the current directory, then in the directories above the
    /// `modules`, because builds usually put binaries below the sources.
    #[must_use]
    pub fn new(directories: &[PathBuf], modules: &[PathBuf]) -> Self {
        let above = modules.iter().flat_map(|module| module.ancestors().skip(1));
        let roots = directories.iter().cloned().chain(std::env::current_dir().ok());
        let roots = roots.chain(above.map(Path::to_path_buf)).collect();
        Sources { roots, found: HashMap::new(), built: HashMap::new() }
    }

    /// Returns the full path of `file`, a path in a binary that was built at this time. Returns it unchanged if no file is
    /// found.
    pub fn locate(&mut self, file: &str, built: Option<SystemTime>) -> String {
        let path = match self.found.get(file) {
            Some(found) => found.clone(),
            None => self.search(file).unwrap_or_else(|| file.to_owned()),
        };
        self.found.insert(file.to_owned(), path.clone());
        if let Some(built) = built {
            let oldest = self.built.entry(path.clone()).or_insert(built);
            *oldest = built.min(*oldest);
        }
        path
    }

    fn search(&self, file: &str) -> Option<String> {
        let path = Path::new(file);
        let found = if path.is_absolute() { regular(path) } else { self.below_a_root(path) };
        let found = found.or_else(|| (file.len() >= CUT - 1).then(|| self.tail(file))?)?;
        found.into_os_string().into_string().ok()
    }

    fn below_a_root(&self, path: &Path) -> Option<PathBuf> {
        self.roots.iter().find_map(|root| regular(&root.join(path)))
    }

    /// Searches for a path whose start was cut off, possibly within a name.
    fn tail(&self, file: &str) -> Option<PathBuf> {
        let mut rest = file;
        while let Some((_, tail)) = rest.split_once('/') {
            // A file name without a directory is too ambiguous.
            if tail.contains('/')
                && let Some(found) = self.below_a_root(Path::new(tail))
            {
                return Some(found);
            }
            rest = tail;
        }
        None
    }

    /// Reads a file; `path` comes from [`locate`](Self::locate).
    #[must_use]
    pub fn read(&self, path: &str) -> Source {
        let read = || -> Option<Source> {
            let file = plain_file::open(Path::new(path)).ok()?;
            let changed = file.metadata().ok()?.modified().ok();
            let mut bytes = Vec::new();
            file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
            let lines = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
            let newer = changed.zip(self.built.get(path)).is_some_and(|(changed, built)| changed > *built);
            Some(Source::Found { lines, newer })
        };
        read().unwrap_or(Source::Missing)
    }
}

/// The build time of a module: its modification time.
#[must_use]
pub fn built(module: &Path) -> Option<SystemTime> {
    fs::metadata(module).ok()?.modified().ok()
}

/// The canonical path of a regular file. Other files are refused: a binary may name a device or a FIFO.
fn regular(path: &Path) -> Option<PathBuf> {
    let full = path.canonicalize().ok()?;
    full.is_file().then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::create_dir_all(root.join("driver/src")).unwrap();
        fs::write(root.join("driver/src/open.c"), b"int open;\n\xff\n").unwrap();
        fs::write(root.join("target/debug/libdriver.so"), "").unwrap();
        directory
    }

    #[test]
    fn relative_paths_are_found_above_the_binary() {
        let tree = tree();
        let module = tree.path().join("target/debug/libdriver.so");
        let mut sources = Sources::new(&[], &[module]);
        let full = tree.path().canonicalize().unwrap().join("driver/src/open.c");
        assert_eq!(sources.locate("driver/src/open.c", None), full.to_str().unwrap());
        assert_eq!(sources.locate("driver/src/none.c", None), "driver/src/none.c");
        let long = format!("/{}/driver/src/open.c", "x".repeat(CUT));
        assert_eq!(sources.locate(&long[1..], None), full.to_str().unwrap(), "a path without its start");
    }

    #[test]
    fn only_regular_files_are_read() {
        let sources = Sources::new(&[], &[]);
        for path in ["/dev/zero", "/", "/nonexistent", "", "/proc/self/fd"] {
            assert_eq!(sources.read(path), Source::Missing, "{path}");
        }
    }

    #[test]
    fn a_source_newer_than_the_binary_is_detected() {
        let tree = tree();
        let module = tree.path().join("target/debug/libdriver.so");
        let source = tree.path().join("driver/src/open.c");
        let touch = |path: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        touch(&module, 2000);
        for (changed, expected) in [(1000, false), (2000, false), (3000, true)] {
            touch(&source, changed);
            let mut sources = Sources::new(&[], std::slice::from_ref(&module));
            let path = sources.locate(source.to_str().unwrap(), built(&module));
            let Source::Found { lines, newer } = sources.read(&path) else { panic!("not found") };
            assert_eq!(newer, expected);
            assert_eq!(lines, ["int open;", "\u{fffd}"]);
        }
    }
}
