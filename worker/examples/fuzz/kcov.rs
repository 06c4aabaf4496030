//! A KCOV client, as in Documentation/dev-tools/kcov.rst.

use crate::sys::{self, Mapping};
use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::sync::atomic::Ordering;

/// Path of the KCOV device.
const PATH: &str = "/sys/kernel/debug/kcov";
/// Size of the area in words.
const WORDS: usize = 64 << 10;
/// Size of a comparison record in words: type, both operands, PC.
const CMP_WORDS: usize = 4;
/// `KCOV_CMP_CONST`: the first operand is a constant of the program.
const CMP_CONST: u64 = 1;

/// What is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PCs (`KCOV_TRACE_PC`).
    Pc,
    /// Comparisons (`KCOV_TRACE_CMP`).
    Cmp,
}

/// A comparison in the device's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the left operand is a constant.
    pub constant: bool,
    /// The left operand.
    pub left: u64,
    /// The right operand.
    pub right: u64,
}

/// A KCOV area that collects coverage of this thread.
#[derive(Debug)]
pub struct Kcov {
    file: File,
    area: Mapping,
    mode: Mode,
}

impl Kcov {
    /// Opens the KCOV device and starts collecting PCs.
    pub fn open() -> anyhow::Result<Self> {
        let open = OpenOptions::new().read(true).write(true).open(PATH);
        let file = open.with_context(|| format!("cannot open {PATH}: does this run under kcov-broker?"))?;
        sys::init_trace(&file, WORDS).context("KCOV_INIT_TRACE")?;
        let area = Mapping::of_file(&file, WORDS).context("mmap of the area")?;
        sys::enable(&file, Mode::Pc).context("KCOV_ENABLE")?;
        Ok(Kcov { file, area, mode: Mode::Pc })
    }

    /// Switches to collecting `mode`.
    pub fn collect(&mut self, mode: Mode) -> anyhow::Result<()> {
        if mode != self.mode {
            sys::disable(&self.file).context("KCOV_DISABLE")?;
            sys::enable(&self.file, mode).context("KCOV_ENABLE")?;
            self.mode = mode;
        }
        Ok(())
    }

    /// Discards what was collected.
    pub fn reset(&self) {
        self.area.words()[0].store(0, Ordering::Relaxed);
    }

    /// PCs collected since the reset, in order.
    pub fn pcs(&self) -> Vec<u64> {
        self.collected(1)
    }

    /// Comparisons collected since the reset, in order.
    pub fn comparisons(&self) -> Vec<Comparison> {
        let words = self.collected(CMP_WORDS);
        let (records, _) = words.as_chunks::<CMP_WORDS>();
        let comparison =
            |&[kind, left, right, _]: &[u64; _]| Comparison { constant: kind & CMP_CONST != 0, left, right };
        records.iter().map(comparison).collect()
    }

    /// The words of all records.
    fn collected(&self, words_each: usize) -> Vec<u64> {
        let words = self.area.words();
        // The count is untrusted: never read beyond the area.
        let count = (words[0].load(Ordering::Relaxed) as usize).min((words.len() - 1) / words_each);
        words[1..=count * words_each].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }
}
