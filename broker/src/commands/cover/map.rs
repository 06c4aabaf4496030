//! The coverage map of a run: a memfd that its workers mark, and this process reads at the end.

use crate::sys::memfd;
use kcov_proto::cover_map::{BYTES, CoverMarks, PAGE};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::{Whence, ftruncate, lseek};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

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
    let mut marks = CoverMarks::default();
    let mut at = 0;
    while let Some(number) = next_page(&file, at)? {
        let mut bytes = [0; PAGE];
        // The size is sealed, and whole pages.
        file.read_exact_at(&mut bytes, (number * PAGE) as u64)?;
        marks.take(number, &bytes);
        at = number + 1;
    }
    Ok(marks)
}

/// The next page of the file that exists, from `number` on.
fn next_page(file: &File, number: usize) -> io::Result<Option<usize>> {
    match lseek(file, (number * PAGE) as libc::off_t, Whence::SeekData) {
        Ok(start) => Ok(usize::try_from(start).ok().map(|start| start / PAGE)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::site::{TEXT_END, TEXT_START};

    #[test]
    fn what_others_mark_is_read() {
        let file = create().unwrap();
        let pcs = [TEXT_START, TEXT_START + 8, TEXT_START + 0x4567_8908, TEXT_END, !7];
        let theirs = File::from(file.try_clone().unwrap());
        pcs.iter().for_each(|pc| theirs.write_all_at(&[1], (pc & 0xffff_ffff) / 8).unwrap());
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
