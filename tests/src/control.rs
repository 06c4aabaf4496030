//! Words in a file that a client maps (`control.h`). Through them the test and the client act in an agreed
//! order without a system call of the client, so that the agreement is not traced.

use anyhow::{Result, ensure};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the file: one page.
const BYTES: u64 = 4096;

/// The test's side.
#[derive(Debug)]
pub struct Control {
    file: File,
    path: PathBuf,
}

impl Control {
    /// Creates the file with all words 0.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        file.set_len(BYTES)?;
        Ok(Control { file, path })
    }

    /// Path for the client.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads word `index`. The read is never torn: the word is aligned and within one page.
    ///
    /// # Errors
    /// Those of the file system, or an index outside the page.
    pub fn get(&self, index: u64) -> Result<u64> {
        ensure!(index < BYTES / 8, "word {index} is outside the page");
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, index * 8)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// Sets word `index`.
    ///
    /// # Errors
    /// As [`Control::get`].
    pub fn set(&self, index: u64, value: u64) -> Result<()> {
        ensure!(index < BYTES / 8, "word {index} is outside the page");
        self.file.write_all_at(&value.to_ne_bytes(), index * 8)?;
        Ok(())
    }
}
