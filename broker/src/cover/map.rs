//! The coverage map of a run: a memfd that its workers mark, and this process reads at the end.

use crate::sys::memfd;
use kcov_proto::cover_map::{CoverMarks, WORDS};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::{Whence, ftruncate, lseek};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Bytes of a map.
const BYTES: usize = WORDS * size_of::<u64>();
/// Bytes that are read at a time: a page, the least that a part of the file with marks can be.
const CHUNK: usize = 4096;

/// A map that nobody has marked yet, of a size that nobody can change.
///
/// # Errors
/// As `memfd_create(2)` and `ftruncate(2)`.
pub fn create() -> Result<OwnedFd, Errno> {
    let file = memfd::create(c"kcov-cover")?;
    ftruncate(&file, BYTES as libc::off_t)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Reads the marks. What no worker touched is skipped: mapping it would allocate it.
///
/// # Errors
/// As `lseek(2)` and `pread(2)`.
pub fn read(file: OwnedFd) -> io::Result<CoverMarks> {
    let file = File::from(file);
    let mut words = vec![0; WORDS];
    let mut at = 0;
    while let Some(start) = next_data(&file, at)? {
        let mut bytes = [0; CHUNK];
        // The size is sealed, and a multiple of the chunk, as is what the kernel calls data.
        file.read_exact_at(&mut bytes, start as u64)?;
        let first = start / size_of::<u64>();
        for (word, bytes) in words.iter_mut().skip(first).zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        at = start + CHUNK;
    }
    Ok(CoverMarks::new(words))
}

/// Where the next part of the file is that exists, from `at` on.
fn next_data(file: &File, at: usize) -> io::Result<Option<usize>> {
    match lseek(file, at as libc::off_t, Whence::SeekData) {
        Ok(start) => Ok(usize::try_from(start).ok().map(|start| start - start % CHUNK)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::SharedWords;
    use kcov_proto::cover_map::CoverMap;
    use kcov_proto::site::{TEXT_END, TEXT_START};

    #[test]
    fn what_others_mark_is_read() {
        let file = create().unwrap();
        let pcs = [TEXT_START, TEXT_START + 8, TEXT_START + 0x4567_8908, TEXT_END, !7];
        let theirs = SharedWords::open(file.try_clone().unwrap(), WORDS).unwrap();
        pcs.iter().for_each(|pc| CoverMap::new(&theirs).mark(*pc));
        assert_eq!(read(file).unwrap().pcs().collect::<Vec<_>>(), pcs);
    }

    #[test]
    fn its_size_is_fixed_and_costs_nothing() {
        let file = create().unwrap();
        assert_eq!(ftruncate(&file, 0), Err(Errno::EPERM));
        assert_eq!(read(file.try_clone().unwrap()).unwrap().count(), 0);
        let facts = File::from(file).metadata().unwrap();
        assert_eq!((facts.len(), std::os::unix::fs::MetadataExt::blocks(&facts)), (BYTES as u64, 0));
    }
}
