//! Reading files that others may have put in place: only regular files, only up to a bound, without blocking.
//!
//! A path in a folder that others can write may lead to a FIFO, a terminal or a device, which block or never end.

use nix::fcntl::{OFlag, open as open_path};
use nix::sys::stat::Mode;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// As `open(2)`; [`io::ErrorKind::InvalidInput`] if it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Does not wait for a FIFO's writer or for the holder of a lease.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(open_path(path, flags, Mode::empty())?);
    regular(&file).map(|_| file)
}

/// The facts of a file, which must be a regular one.
fn regular(file: &File) -> io::Result<Metadata> {
    let facts = file.metadata()?;
    match facts.is_file() {
        true => Ok(facts),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`] and `read(2)`; [`io::ErrorKind::FileTooLarge`] if it is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    contents(&open(path)?, most)
}

/// The same for a file that is open, without blocking.
///
/// # Errors
/// As [`read`].
pub fn contents(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let too_large =
        || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {most} bytes, the maximum"));
    if regular(file)?.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, fifo) = (directory.path().join("file"), directory.path().join("fifo"));
        std::fs::write(&file, "12345").expect("written");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR).expect("made");
        let kind = |path: &Path, most| read(path, most).map_err(|error| error.kind());
        assert_eq!(kind(&file, 5), Ok(b"12345".to_vec()));
        assert_eq!(kind(&file, 4), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(kind(Path::new("/dev/zero"), 4), Err(io::ErrorKind::InvalidInput));
        assert_eq!(kind(&fifo, 4), Err(io::ErrorKind::InvalidInput));
        assert_eq!(kind(directory.path(), 4), Err(io::ErrorKind::InvalidInput));
    }
}
