//! The directory with all artifacts. Several runs may use it, also at the same time.

use super::record::Sightings;
use crate::launch::folder::Folder;
use crate::sys::plain_file;
use anyhow::Context;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Permissions of the files of an artifact.
const MODE: u32 = 0o600;
/// Longest wait for the lock: a few times as long as an artifact takes to write.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Time between two attempts to lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Name of what is still being written; not a valid name of an artifact.
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
/// Returns its absolute path. As root, `trusted` may own it as well.
///
/// # Errors
/// If it cannot be created, is not writable, or another user can redirect what is written there.
pub fn prepare(directory: &Path, trusted: Option<u32>) -> anyhow::Result<PathBuf> {
    let shown = || format!("cannot write artifacts to {}", directory.display());
    let folder = Folder::open_or_create(directory, trusted).with_context(shown)?;
    nix::unistd::access(folder.path(), nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .with_context(|| format!("{}: it is not writable", shown()))?;
    Ok(folder.path().to_owned())
}

/// The locked directory. Other writers wait for the lock.
pub(super) struct Store {
    folder: Folder,
}

impl Store {
    /// Opens the directory and locks it. Every user who may read it could hold a lock for ever, so the wait is
    /// bounded.
    pub(super) fn lock(directory: &Path, trusted: Option<u32>) -> anyhow::Result<Self> {
        let folder = Folder::open(directory, trusted)?;
        let until = Instant::now() + LOCK_WAIT;
        while !folder.try_lock() {
            anyhow::ensure!(
                Instant::now() < until,
                "another process holds a lock on {}: end it (fuser shows it), or choose a folder that other users \
                 cannot read",
                folder.path().display()
            );
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(Store { folder })
    }

    /// Returns whether the artifact exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.entry(name).is_some()
    }

    /// Returns how much more fits into the bounds.
    pub(super) fn room(&self, bounds: Bounds) -> anyhow::Result<Bounds> {
        let (mut count, mut bytes) = (0, 0);
        for name in self.folder.names(MAX_ENTRIES)?.iter().filter(|name| is_name(name)) {
            let Ok(artifact) = self.folder.folder(name) else { continue };
            count += 1;
            bytes += size(&artifact);
        }
        Ok(Bounds { count: bounds.count.saturating_sub(count), bytes: bounds.bytes.saturating_sub(bytes) })
    }

    /// Writes an artifact with these files atomically.
    pub(super) fn put(&self, name: &str, files: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
        // Left behind by a writer that was killed: this writer holds the lock.
        if self.folder.entry(UNFINISHED).is_some() {
            self.folder
                .remove_all(UNFINISHED)
                .context("cannot remove the unfinished artifact of a killed writer")?;
        }
        let unfinished = self.folder.create_folder(UNFINISHED)?;
        for (name, bytes) in files {
            unfinished.create(name, MODE)?.write_all(bytes).with_context(|| (*name).to_owned())?;
        }
        Ok(self.folder.rename(UNFINISHED, name)?)
    }

    /// Adds to the sightings of an artifact.
    pub(super) fn add_sightings(&self, name: &str, more: Sightings) -> anyhow::Result<()> {
        let artifact = self.folder.folder(name)?;
        let before = artifact.read(SIGHTINGS, MAX_SIGHTINGS);
        let before = before.and_then(|bytes| serde_json::from_slice::<Sightings>(&bytes).ok());
        let sightings = before.map_or(more, |before| before.and(more));
        let _ = artifact.remove(Path::new(UNFINISHED));
        artifact.create(UNFINISHED, MODE)?.write_all(&serde_json::to_vec(&sightings)?)?;
        Ok(artifact.rename(UNFINISHED, SIGHTINGS)?)
    }
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
fn size(folder: &Folder) -> u64 {
    let names = folder.names(MAX_ENTRIES).unwrap_or_default();
    names.iter().filter_map(|name| folder.entry(name)).map(|facts| facts.st_size.cast_unsigned()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SEEN: Sightings = Sightings { count: 1, first: 7, last: 7 };

    #[test]
    fn artifacts_are_written_atomically_and_only_for_the_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = prepare(&directory.path().join("new/one"), None).expect("made");
        let store = Store::lock(&path, None).expect("locked");
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
        let store = Store::lock(directory.path(), None).expect("locked");
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
