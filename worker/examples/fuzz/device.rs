//! Runs programs on the device, and collects what each of their requests covers.

use crate::kcov::{Comparison, Kcov, Mode};
use crate::program::{Argument, MOST_REQUESTS, Program};
use crate::sys::{self, Mapping};
use anyhow::Context;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where the memory is that arguments point to: the same addresses in each run, so that traces are the same.
const MEMORY: NonZero<usize> = NonZero::new(0x2000_0000).unwrap();
/// Bytes for each request; what is left of them behind the argument is zero.
const WINDOW: usize = 8192;

/// What came of a program.
#[derive(Debug)]
pub struct Execution<T> {
    /// What each of its requests left in the area, up to the one that the device died of.
    pub records: Vec<Vec<T>>,
    /// If the device died.
    pub death: Option<Died>,
}

/// A request failed with `EIO`, as calls do of which a worker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died {
    /// Its place in the program; of an open that failed, the first.
    pub place: usize,
    /// How long it took.
    pub took: Duration,
}

/// The device, with the memory for arguments and the area.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    memory: Mapping,
    kcov: Kcov,
}

impl Device {
    /// Makes sure that there is one.
    pub fn new(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = NonZero::new(WINDOW * MOST_REQUESTS).context("a size")?;
        let memory = Mapping::at(MEMORY, bytes).context("mmap of the memory for arguments")?;
        let device = Device { path, memory, kcov: Kcov::open()? };
        device.open().with_context(|| format!("cannot open {}", device.path.display()))?;
        Ok(device)
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path)
    }

    /// Runs a program. Collects PCs.
    pub fn trace(&mut self, program: &Program) -> anyhow::Result<Execution<u64>> {
        self.kcov.collect(Mode::Pc)?;
        self.run(program, Kcov::pcs)
    }

    /// Runs a program. Collects comparisons.
    pub fn compare(&mut self, program: &Program) -> anyhow::Result<Execution<Comparison>> {
        self.kcov.collect(Mode::Cmp)?;
        self.run(program, Kcov::comparisons)
    }

    /// Opens the device and makes the requests of `program`, up to one of which the device dies.
    fn run<T>(&self, program: &Program, collected: impl Fn(&Kcov) -> Vec<T>) -> anyhow::Result<Execution<T>> {
        let start = Instant::now();
        let mut execution = Execution { records: Vec::new(), death: None };
        let file = match self.open() {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                execution.death = Some(Died { place: 0, took: start.elapsed() });
                return Ok(execution);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", self.path.display())),
        };
        for (place, request) in program.requests.iter().enumerate() {
            let argument = self.lay_out(place, &request.argument);
            self.kcov.reset();
            let start = Instant::now();
            let result = sys::ioctl(&file, request.number, argument);
            let took = start.elapsed();
            execution.records.push(collected(&self.kcov));
            if result == Err(Errno::EIO) {
                execution.death = Some(Died { place, took });
                break;
            }
        }
        Ok(execution)
    }

    /// The argument as the device gets it.
    fn lay_out(&self, place: usize, argument: &Argument) -> u64 {
        let bytes = match argument {
            Argument::Value(bytes) => return u64::from_ne_bytes(*bytes),
            Argument::Memory(bytes) => bytes,
        };
        let mut pieces = bytes.chunks(8).map(|piece| {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            u64::from_ne_bytes(word)
        });
        let first = place * WINDOW / 8;
        for word in &self.memory.words()[first..first + WINDOW / 8] {
            word.store(pieces.next().unwrap_or(0), Ordering::Relaxed);
        }
        self.memory.address() + (place * WINDOW) as u64
    }
}
