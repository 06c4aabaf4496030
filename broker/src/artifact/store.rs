//! The folder that holds the artifacts: of one run, or of all that were told to use it, one after the other or at once.

use super::record::Sightings;
use anyhow::Context;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of what a writer has not finished; it is no artifact's.
const UNFINISHED: &str = ".unfinished";
/// Name of the file with the sightings.
const SIGHTINGS: &str = "sightings.json";
/// Longest name of an artifact, bytes.
const MOST_NAME: usize = 64;
/// Most entries of the folder that are looked at.
const MOST_ENTRIES: usize = 100_000;

/// How much the folder may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Artifacts.
    pub count: usize,
    /// Bytes of all their files.
    pub bytes: u64,
}

/// Whether it can be the name of an artifact.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(plain)
}

/// Makes the folder if there is none, for its owner alone: artifacts hold memory of tenants.
///
/// # Errors
/// If it cannot be made, or not be written to.
pub fn prepare(directory: &Path) -> anyhow::Result<PathBuf> {
    let shown = directory.display();
    anyhow::ensure!(
        directory.is_dir() || directory.symlink_metadata().is_err(),
        "cannot keep artifacts in {shown}: it is no folder; name another"
    );
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot keep artifacts in {shown}"))?;
    let full = directory.canonicalize().with_context(|| format!("cannot keep artifacts in {shown}"))?;
    nix::unistd::access(&full, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .with_context(|| format!("cannot keep artifacts in {shown}: it is not writable"))?;
    Ok(full)
}

/// The folder, for one writer at a time; others wait.
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

    /// Whether there is such an artifact.
    pub(super) fn has(&self, name: &str) -> bool {
        self.directory.join(name).symlink_metadata().is_ok()
    }

    /// What may still be put there.
    pub(super) fn room(&self, bounds: Bounds) -> anyhow::Result<Bounds> {
        let (mut count, mut bytes) = (0, 0);
        for name in names(&self.directory)? {
            count += 1;
            bytes += size(&self.directory.join(name));
        }
        Ok(Bounds { count: bounds.count.saturating_sub(count), bytes: bounds.bytes.saturating_sub(bytes) })
    }

    /// Puts an artifact there: a folder of these files. It appears whole or not at all.
    pub(super) fn put(&self, name: &str, files: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
        let unfinished = self.directory.join(UNFINISHED);
        // Of a writer that was killed: this one has the lock.
        if unfinished.symlink_metadata().is_ok() {
            fs::remove_dir_all(&unfinished).context("what another writer left")?;
        }
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        for (name, bytes) in files {
            create(&unfinished.join(name), bytes).with_context(|| (*name).to_owned())?;
        }
        fs::rename(&unfinished, self.directory.join(name))?;
        Ok(())
    }

    /// Adds to the sightings of an artifact.
    pub(super) fn see(&self, name: &str, more: Sightings) -> anyhow::Result<()> {
        let folder = self.directory.join(name);
        let sightings = sightings(&folder).map_or(more, |before| before.and(more));
        let next = folder.join(".sightings");
        let _ = fs::remove_file(&next);
        create(&next, &serde_json::to_vec(&sightings)?)?;
        fs::rename(&next, folder.join(SIGHTINGS))?;
        Ok(())
    }
}

/// A file that was not there before, for its owner alone.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Names of the artifacts in a folder.
///
/// # Errors
/// If it cannot be read.
pub fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.take(MOST_ENTRIES).filter_map(|entry| {
        let entry = entry.ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name().into_string().ok().filter(|name| is_folder && is_name(name))
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// How often the artifact of a folder was seen, as far as that was written down.
#[must_use]
pub fn sightings(folder: &Path) -> Option<Sightings> {
    serde_json::from_slice(&fs::read(folder.join(SIGHTINGS)).ok()?).ok()
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.take(MOST_ENTRIES).filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SEEN: Sightings = Sightings { count: 1, first: 7, last: 7 };

    #[test]
    fn an_artifact_is_there_whole_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = prepare(&directory.path().join("new/one")).expect("made");
        let store = Store::lock(&path).expect("locked");
        let all = Bounds { count: 2, bytes: 100 };
        assert_eq!(store.room(all).expect("readable"), all);
        // What a writer that was killed left.
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
        store.see("hang-1", SEEN).expect("seen");
        store.see("hang-1", Sightings { count: 3, first: 5, last: 9 }).expect("seen");
        let total = Sightings { count: 4, first: 5, last: 9 };
        assert_eq!(sightings(&directory.path().join("hang-1")), Some(total));
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["", ".", "..", "a/b", ".unfinished", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("SIGSEGV-0123456789abcdef"));
    }
}
