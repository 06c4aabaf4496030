//! The directory with all artifacts. Several runs may use it, also at the same time.

use super::record::Sightings;
use crate::sys::plain_file;
use anyhow::Context;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of a folder that is still being written; not a valid name of an artifact.
const UNFINISHED: &str = ".unfinished";
/// File with the [`Sightings`] of an artifact.
const SIGHTINGS: &str = "sightings.json";
/// Maximum size of that file, in bytes.
const MAX_SIGHTINGS: u64 = 4096;
/// Maximum length of an artifact's name, in bytes.
const MAX_NAME: usize = 64;
/// Maximum number of entries of a directory that are examined.
const MAX_ENTRIES: usize = 100_000;

/// How much the directory may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Number of artifacts.
    pub count: usize,
    /// Total size of their files, in bytes.
    pub bytes: u64,
}

/// Returns whether `name` is a valid name of an artifact.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

/// Creates the directory if it does not exist, accessible only to its owner: artifacts contain memory of tenants.
/// Returns its absolute path.
///
/// # Errors
/// If it cannot be created or is not writable.
pub fn prepare(directory: &Path) -> anyhow::Result<PathBuf> {
    let shown = directory.display();
    anyhow::ensure!(
        directory.is_dir() || directory.symlink_metadata().is_err(),
        "cannot write artifacts to {shown}: it is not a directory; choose another path"
    );
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot write artifacts to {shown}"))?;
    let full = directory.canonicalize().with_context(|| format!("cannot write artifacts to {shown}"))?;
    nix::unistd::access(&full, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .with_context(|| format!("cannot write artifacts to {shown}: it is not writable"))?;
    Ok(full)
}

/// The locked directory. Other writers wait for the lock.
pub(super) struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    pub(super) fn lock(directory: &Path) -> anyhow::Result<Self> {
        let lock = File::open(directory)?;
        lock.lock()?;
        Ok(Store { directory: directory.to_owned(), _lock: lock })
    }

    /// Returns whether the artifact exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.directory.join(name).symlink_metadata().is_ok()
    }

    /// Returns how much more fits into the bounds.
    pub(super) fn room(&self, bounds: Bounds) -> anyhow::Result<Bounds> {
        let (mut count, mut bytes) = (0, 0);
        for name in names(&self.directory)? {
            count += 1;
            bytes += size(&self.directory.join(name));
        }
        Ok(Bounds { count: bounds.count.saturating_sub(count), bytes: bounds.bytes.saturating_sub(bytes) })
    }

    /// Writes an artifact with these files atomically.
    pub(super) fn put(&self, name: &str, files: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
        let unfinished = self.directory.join(UNFINISHED);
        // Left behind by a writer that was killed: this writer holds the lock.
        if unfinished.symlink_metadata().is_ok() {
            fs::remove_dir_all(&unfinished)
                .context("cannot remove the unfinished artifact of a killed writer")?;
        }
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        for (name, bytes) in files {
            create(&unfinished.join(name), bytes).with_context(|| (*name).to_owned())?;
        }
        fs::rename(&unfinished, self.directory.join(name))?;
        Ok(())
    }

    /// Adds to the sightings of an artifact.
    pub(super) fn add_sightings(&self, name: &str, more: Sightings) -> anyhow::Result<()> {
        let folder = self.directory.join(name);
        let sightings = sightings(&folder).map_or(more, |before| before.and(more));
        let next = folder.join(".sightings");
        let _ = fs::remove_file(&next);
        create(&next, &serde_json::to_vec(&sightings)?)?;
        fs::rename(&next, folder.join(SIGHTINGS))?;
        Ok(())
    }
}

/// Writes a new file, accessible only to its owner.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Returns the sorted names of the artifacts in a directory.
///
/// # Errors
/// If the directory cannot be read.
pub fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.take(MAX_ENTRIES).filter_map(|entry| {
        let entry = entry.ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name().into_string().ok().filter(|name| is_folder && is_name(name))
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads the sightings of the artifact in `folder`; `None` if they are missing or malformed.
#[must_use]
pub fn sightings(folder: &Path) -> Option<Sightings> {
    serde_json::from_slice(&plain_file::read(&folder.join(SIGHTINGS), MAX_SIGHTINGS).ok()?).ok()
}

/// Total size of the files in a folder, in bytes.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.take(MAX_ENTRIES).filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SEEN: Sightings = Sightings { count: 1, first: 7, last: 7 };

    #[test]
    fn artifacts_are_written_atomically_and_only_for_the_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = prepare(&directory.path().join("new/one")).expect("made");
        let store = Store::lock(&path).expect("locked");
        let all = Bounds { count: 2, bytes: 100 };
        assert_eq!(store.room(all).expect("readable"), all);
        // Left behind by a writer that was killed.
        fs::create_dir(path.join(UNFINISHED)).expect("made");
        fs::write(path.join(UNFINISHED).join("x"), "left").expect("written");
        assert!(names(&path).expect("readable").is_empty());
        store.put("hang-1", &[("a", vec![1; 60])]).expect("put");
        assert!(store.has("hang-1") && !store.has("hang-2"));
        assert_eq!(names(&path).expect("readable"), ["hang-1"]);
        assert_eq!(store.room(all).expect("readable"), Bounds { count: 1, bytes: 40 });
        let mode = |name: &str| path.join(name).metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("hang-1"), mode("hang-1/a")), (0o700, 0o700, 0o600));
        assert!(!path.join("hang-1/x").exists());
    }

    #[test]
    fn sightings_add_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::lock(directory.path()).expect("locked");
        store.put("hang-1", &[]).expect("put");
        store.add_sightings("hang-1", SEEN).expect("seen");
        store.add_sightings("hang-1", Sightings { count: 3, first: 5, last: 9 }).expect("seen");
        let total = Sightings { count: 4, first: 5, last: 9 };
        assert_eq!(sightings(&directory.path().join("hang-1")), Some(total));
    }

    #[test]
    fn names_are_plain_file_names() {
        for name in ["", ".", "..", "a/b", ".unfinished", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("SIGSEGV-0123456789abcdef"));
    }
}
