//! Identifies the build of a program or library.

use crate::sys::plain_file;
use kcov_proto::site::fnv1a;
use object::{Object, ReadCache};
use std::io::Read;
use std::path::Path;

/// Number of bytes that are hashed of a file without a build id: hashing a larger file would take too long.
const MAX_HASHED: u64 = 256 * 1024 * 1024;

/// Returns the build id from the linker, or else a hash of the file; `None` if the file cannot be read.
#[must_use]
pub fn of(path: &Path) -> Option<String> {
    let file = plain_file::open(path).ok()?;
    let cache = ReadCache::new(&file);
    let id = object::File::parse(&cache).ok().and_then(|file| Some(file.build_id().ok()??.to_vec()));
    match id {
        Some(id) => Some(id.iter().map(|byte| format!("{byte:02x}")).collect()),
        None => {
            let mut bytes = Vec::new();
            plain_file::open(path).ok()?.take(MAX_HASHED).read_to_end(&mut bytes).ok()?;
            Some(format!("fnv1a-{:016x}", fnv1a(&bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_files_have_different_builds() {
        let program = std::env::current_exe().expect("a program");
        assert!(of(&program).is_some_and(|build| build.len() >= 16));
        assert_eq!(of(&program), of(&program));
        let directory = tempfile::tempdir().expect("a directory");
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        std::fs::write(&one, "one").expect("written");
        std::fs::write(&other, "other").expect("written");
        assert!(of(&one).is_some_and(|build| build.starts_with("fnv1a-")));
        assert_ne!(of(&one), of(&other));
        assert_eq!(of(Path::new("/dev/null")), None);
        assert_eq!(of(directory.path()), None);
    }
}
