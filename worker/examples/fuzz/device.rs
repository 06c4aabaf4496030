//! Runs programs on the device, and collects the coverage of each request.

use crate::kcov::{Comparison, Kcov, Mode};
use crate::program::{Argument, MAX_REQUESTS, Program};
use crate::sys::{self, Mapping};
use anyhow::Context;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Address of the memory for arguments. It is fixed, so that traces do not differ between runs.
const MEMORY: NonZero<usize> = NonZero::new(0x2000_0000).unwrap();
/// Memory for each request in bytes. The part behind the argument is zero.
const WINDOW: usize = 8192;

/// The result of running a program.
#[derive(Debug)]
pub struct Execution<T> {
    /// Records of each request, up to the one that crashed or hung the device.
    pub records: Vec<Vec<T>>,
    /// How the device crashed or hung, if it did.
    pub failure: Option<Failure>,
}

/// A request failed with `EIO`: the worker crashed or was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Index of the request in the program; 0 if the open failed.
    pub place: usize,
    /// Time until the request failed.
    pub took: Duration,
}

/// The device under test, the memory for arguments and the KCOV area.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    memory: Mapping,
    kcov: Kcov,
}

impl Device {
    /// Maps the memory, starts KCOV and checks that the device can be opened.
    pub fn new(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = NonZero::new(WINDOW * MAX_REQUESTS).context("the size is not 0")?;
        let memory = Mapping::at(MEMORY, bytes).context("mmap of the memory for arguments")?;
        let device = Device { path, memory, kcov: Kcov::open()? };
        device.open().with_context(|| format!("cannot open {}", device.path.display()))?;
        Ok(device)
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path)
    }

    /// Runs a program and collects PCs.
    pub fn trace(&mut self, program: &Program) -> anyhow::Result<Execution<u64>> {
        self.kcov.collect(Mode::Pc)?;
        self.run(program, Kcov::pcs)
    }

    /// Runs a program and collects comparisons.
    pub fn compare(&mut self, program: &Program) -> anyhow::Result<Execution<Comparison>> {
        self.kcov.collect(Mode::Cmp)?;
        self.run(program, Kcov::comparisons)
    }

    /// Opens the device and makes the requests of `program`. Stops at one that crashes or hangs the device.
    fn run<T>(&self, program: &Program, collected: impl Fn(&Kcov) -> Vec<T>) -> anyhow::Result<Execution<T>> {
        let start = Instant::now();
        let mut execution = Execution { records: Vec::new(), failure: None };
        let file = match self.open() {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                execution.failure = Some(Failure { place: 0, took: start.elapsed() });
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
                execution.failure = Some(Failure { place, took });
                break;
            }
        }
        Ok(execution)
    }

    /// Returns the argument register; writes an argument in memory to its window first.
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
