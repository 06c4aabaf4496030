//! Runs handlers inside of a test: no root, no tenant, no other process.
//!
//! The harness plays the tenant's side: its memory, its calls, its open files. It asks the handlers by the same code
//! that a worker does, with an area armed, and gives back the answer with the records.

use crate::call::{Abi, Call};
use crate::caller::Port;
use crate::handler::{Answer, Handler};
use crate::handlers::Handlers;
use crate::loading::{Library, LoadError};
use crate::record::Scope;
use crate::sys::sancov;
use kcov_proto::Errno;
use kcov_proto::abi::{CMP_WORDS, TraceMode};
use kcov_proto::area::Area;
use kcov_proto::claims::ClaimError;
use kcov_proto::device::ArenaId;
use kcov_proto::sync::{AtomicU64, Ordering};
use libseccomp::ScmpSyscall;
use std::collections::BTreeMap;

/// Words of the area of a call.
const WORDS: usize = 1 << 16;
/// Where the first piece of memory is.
const FIRST_ADDRESS: u64 = 0x10_0000;
/// Memory starts at multiples of this, with nothing between.
const PAGE: u64 = 4096;

/// What came of a call, or of an open.
#[derive(Debug, PartialEq)]
pub struct Ran<T = Answer> {
    /// What the handler said; a call that no handler claims goes on.
    pub answer: T,
    /// PCs that it recorded, in their order; of comparisons, see [`comparisons`](Self::comparisons).
    pub pcs: Vec<u64>,
    /// Comparisons that it recorded, in their order: type, first operand, second operand, PC, as `include/uapi/linux/kcov.h`
    /// lays them out.
    pub comparisons: Vec<[u64; CMP_WORDS as usize]>,
}

/// An open file of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle {
    id: ArenaId,
    device: u16,
}

/// The tenant of a test.
#[derive(Debug)]
pub struct Harness {
    handlers: Handlers,
    memory: Memory,
    mode: TraceMode,
    next_file: u32,
}

impl Harness {
    /// For one handler.
    ///
    /// # Errors
    /// If a broker would refuse what it claims.
    pub fn new(handler: impl Handler + 'static) -> Result<Self, ClaimError> {
        Self::with([Box::new(handler)])
    }

    /// For several, asked in this order.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with<const N: usize>(handlers: [Box<dyn Handler>; N]) -> Result<Self, ClaimError> {
        Self::over(Handlers::new(handlers.into())?)
    }

    /// For a handler in a library, named `PATH[:CONFIG]` as for `--handler`.
    ///
    /// # Errors
    /// As the program would say it.
    pub fn of_library(name: &str) -> Result<Self, LoadError> {
        let missing = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let library =
            Library::parse(name).ok_or_else(|| LoadError::Open { path: name.into(), error: missing() })?;
        let handlers = Handlers::new(vec![library.open()?.load()?])?;
        Ok(Self::over(handlers)?)
    }

    fn over(handlers: Handlers) -> Result<Self, ClaimError> {
        handlers.check_names()?;
        sancov::settle();
        Ok(Harness { handlers, memory: Memory::default(), mode: TraceMode::Pc, next_file: 0 })
    }

    /// Has comparisons collected from here on, and no PCs; or the other way round.
    pub fn collect(&mut self, mode: TraceMode) {
        self.mode = mode;
    }

    /// New memory of the tenant, all zeroes; nothing is mapped on either side. Returns its address.
    pub fn map(&mut self, length: usize) -> u64 {
        self.memory.map(vec![0; length])
    }

    /// New memory of the tenant with these bytes. Returns its address.
    pub fn map_bytes(&mut self, bytes: impl Into<Vec<u8>>) -> u64 {
        self.memory.map(bytes.into())
    }

    /// What is in the tenant's memory.
    ///
    /// # Panics
    /// If it is not mapped: a mistake of the test.
    #[must_use]
    pub fn memory(&self, address: u64, length: usize) -> &[u8] {
        self.memory.get(address, length).expect("mapped memory")
    }

    /// A system call of a 64-bit program.
    ///
    /// # Panics
    /// If there is no call of that name: a mistake of the test.
    pub fn call(&mut self, name: &str, args: [u64; 6]) -> Ran {
        let number = ScmpSyscall::from_name(name).expect("a system call").as_raw_syscall();
        self.run(Call { id: 1, tid: 1, abi: Abi::Native, number, args })
    }

    /// Any call.
    pub fn run(&mut self, call: Call) -> Ran {
        self.recorded(|handlers, memory| match handlers.answer(&call, memory) {
            Some((_, answer)) => answer,
            None => Answer::Continue { reason: "no handler claims it" },
        })
    }

    /// Opens a device.
    ///
    /// # Errors
    /// `ENOENT` if there is none at this path; else what the handler says.
    pub fn open(&mut self, path: &str, flags: u32) -> Result<FileHandle, Errno> {
        self.open_recorded(path, flags).answer
    }

    /// As [`open`](Self::open), with what the handler recorded.
    pub fn open_recorded(&mut self, path: &str, flags: u32) -> Ran<Result<FileHandle, Errno>> {
        let id = ArenaId { index: self.next_file, generation: 0 };
        self.next_file += 1;
        self.recorded(|handlers, memory| {
            let device = handlers.device_at(path).ok_or(Errno::ENOENT)?;
            handlers.open_device(device, flags, id, &Call::open(1, 1, flags), memory)?;
            Ok(FileHandle { id, device })
        })
    }

    /// A request on an open file. One that the device does not claim fails with `ENOTTY`.
    pub fn ioctl(&mut self, file: FileHandle, request: u32, arg: u64) -> Ran {
        let number = libc::SYS_ioctl as i32;
        let args = [0, u64::from(request), arg, 0, 0, 0];
        let call = Call { id: 1, tid: 1, abi: Abi::Native, number, args };
        self.recorded(|handlers, memory| match handlers.ioctl((file.id, file.device), &call, memory) {
            Some((_, answer)) => answer,
            None => Answer::Fail(Errno::ENOTTY),
        })
    }

    /// Closes the last descriptor of a file.
    pub fn close(&mut self, file: FileHandle) {
        self.handlers.close(&[file.id]);
    }

    fn recorded<T>(&mut self, work: impl FnOnce(&mut Handlers, &mut Memory) -> T) -> Ran<T> {
        let Harness { handlers, memory, mode, .. } = self;
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let Some(area) = Area::new(&words) else {
            unreachable!("an area of {WORDS} words is within the bounds");
        };
        let (answer, _) = Scope::enter(area, *mode, |_| work(handlers, memory));
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let count = word(0) as usize;
        match mode {
            TraceMode::Pc => Ran { answer, pcs: (1..=count).map(word).collect(), comparisons: Vec::new() },
            TraceMode::Cmp => {
                let record = |number| std::array::from_fn(|i| word(1 + number * CMP_WORDS as usize + i));
                Ran { answer, pcs: Vec::new(), comparisons: (0..count).map(record).collect() }
            }
        }
    }
}

/// The tenant's memory: pieces by address, with pages between them that are not mapped.
#[derive(Debug, Default)]
struct Memory {
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Memory {
    fn map(&mut self, bytes: Vec<u8>) -> u64 {
        let end = self.pieces.last_key_value().map(|(start, piece)| start + piece.len() as u64);
        let address = end.map_or(FIRST_ADDRESS, |end| (end / PAGE + 2) * PAGE);
        self.pieces.insert(address, bytes);
        address
    }

    /// The piece that a range lies in, and where.
    fn find(&self, address: u64, length: usize) -> Option<(u64, std::ops::Range<usize>)> {
        let (&start, piece) = self.pieces.range(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        let to = from.checked_add(length)?;
        (to <= piece.len()).then_some((start, from..to))
    }

    fn get(&self, address: u64, length: usize) -> Option<&[u8]> {
        let (start, range) = self.find(address, length)?;
        self.pieces.get(&start)?.get(range)
    }
}

impl Port for Memory {
    fn read(&mut self, _: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
        self.get(address, length as usize).map(<[u8]>::to_vec).ok_or(Errno::EFAULT)
    }

    fn write(&mut self, _: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let (start, range) = self.find(address, bytes.len()).ok_or(Errno::EFAULT)?;
        self.pieces.get_mut(&start).ok_or(Errno::EFAULT)?[range].copy_from_slice(bytes);
        Ok(())
    }
}
