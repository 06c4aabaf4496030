//! The coverage map of a run: a memfd that the workers write and this process reads at the end.

use crate::sys::memfd;
use kcov_proto::cover_map::{BYTES, CoverMarks, PAGE};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::{Whence, ftruncate, lseek};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Creates an empty map with a sealed size.
///
/// # Errors
/// Those of `memfd_create(2)`, `ftruncate(2)` and `fcntl(2)`.
pub fn create() -> Result<OwnedFd, Errno> {
    let file = memfd::create(c"kcov-cover")?;
    ftruncate(&file, BYTES as libc::off_t)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Reads the marks. Skips holes in the file: reading them through a mapping would allocate their pages.
///
/// # Errors
/// Those of `lseek(2)` and `pread(2)`.
pub fn read(file: OwnedFd) -> io::Result<CoverMarks> {
    let file = File::from(file);
    let mut marks = CoverMarks::default();
    let mut at = 0;
    while let Some(number) = next_page(&file, at)? {
        let mut bytes = [0; PAGE];
        // Cannot be short: the size is sealed and a multiple of the page size.
        file.read_exact_at(&mut bytes, (number * PAGE) as u64)?;
        marks.take(number, &bytes);
        at = number + 1;
    }
    Ok(marks)
}

/// The first allocated page at or after page `number`.
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
    fn marks_of_others_are_read() {
        let file = create().unwrap();
        let pcs = [TEXT_START, TEXT_START + 8, TEXT_START + 0x4567_8908, TEXT_END, !7];
        let theirs = File::from(file.try_clone().unwrap());
        pcs.iter().for_each(|pc| theirs.write_all_at(&[1], (pc & 0xffff_ffff) / 8).unwrap());
        assert_eq!(read(file).unwrap().pcs().collect::<Vec<_>>(), pcs);
    }

    #[test]
    fn an_empty_map_has_a_fixed_size_and_no_pages() {
        let file = create().unwrap();
        assert_eq!(ftruncate(&file, 0), Err(Errno::EPERM));
        assert_eq!(read(file.try_clone().unwrap()).unwrap().count(), 0);
        let facts = File::from(file).metadata().unwrap();
        assert_eq!((facts.len(), std::os::unix::fs::MetadataExt::blocks(&facts)), (BYTES as u64, 0));
    }
}
