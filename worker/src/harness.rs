//! Runs handlers in a test, without root, tenant or other processes.
//!
//! The harness replaces the tenant: its memory, its calls and its open files. It asks the handlers with the
//! same code as a worker, while an area is enabled, and returns the answer with the records.

use crate::call::{Abi, Call};
use crate::caller::CallerMemory;
use crate::handler::{Answer, Handler};
use crate::handlers::Handlers;
use crate::loading::{Library, LoadError};
use crate::record::Scope;
use crate::remote::{self, Host};
use crate::sys::sancov;
use kcov_proto::Errno;
use kcov_proto::abi::{CMP_WORDS, TraceMode};
use kcov_proto::area::Area;
use kcov_proto::claims::ClaimError;
use kcov_proto::device::{ArenaId, RemoteTarget};
use kcov_proto::sync::{AtomicU64, Ordering};
use libseccomp::ScmpSyscall;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Size of the area of a call in words.
const WORDS: usize = 1 << 16;
/// Address of the first piece of memory.
const FIRST_ADDRESS: u64 = 0x10_0000;
/// Pieces of memory start at multiples of this, in bytes.
const PAGE: u64 = 4096;

/// The result of a call or an open.
#[derive(Debug, PartialEq)]
pub struct Ran<T = Answer> {
    /// The handler's answer. A call that no handler claims continues.
    pub answer: T,
    /// PCs that it recorded, in order. Empty while [`comparisons`](Self::comparisons) are collected.
    pub pcs: Vec<u64>,
    /// Comparisons that it recorded, in order: type, first operand, second operand, PC, as in
    /// include/uapi/linux/kcov.h. Empty while PCs are collected.
    pub comparisons: Vec<[u64; CMP_WORDS as usize]>,
}

/// An open file of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle {
    id: ArenaId,
    device: u16,
}

/// A simulated tenant.
#[derive(Debug)]
pub struct Harness {
    handlers: Handlers,
    memory: TenantMemory,
    mode: TraceMode,
    next_file: u32,
    remote: Option<Rc<OneHandle>>,
}

impl Harness {
    /// Runs one handler.
    ///
    /// # Errors
    /// The error with which the broker would refuse its claims.
    pub fn new(handler: impl Handler + 'static) -> Result<Self, ClaimError> {
        Self::with([Box::new(handler)])
    }

    /// Runs several handlers, asked in this order.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with<const N: usize>(handlers: [Box<dyn Handler>; N]) -> Result<Self, ClaimError> {
        Self::over(Handlers::new(handlers.into())?)
    }

    /// Runs a handler library, given as `PATH[:CONFIG]` like the argument of `--handler`.
    ///
    /// # Errors
    /// As a worker program.
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
        Ok(Harness {
            handlers,
            memory: TenantMemory::default(),
            mode: TraceMode::Pc,
            next_file: 0,
            remote: None,
        })
    }

    /// Selects what later calls collect: PCs, which is the default, or comparisons.
    pub fn collect(&mut self, mode: TraceMode) {
        self.mode = mode;
    }

    /// Allocates memory of the tenant, filled with zeros. The addresses around it are unmapped. Returns its
    /// address.
    pub fn map(&mut self, length: usize) -> u64 {
        self.memory.map(vec![0; length])
    }

    /// Allocates memory of the tenant with these bytes. Returns its address.
    pub fn map_bytes(&mut self, bytes: impl Into<Vec<u8>>) -> u64 {
        self.memory.map(bytes.into())
    }

    /// Bytes of the tenant's memory.
    ///
    /// # Panics
    /// If the memory is not mapped, which is a bug of the test.
    #[must_use]
    pub fn memory(&self, address: u64, length: usize) -> &[u8] {
        self.memory.get(address, length).expect("mapped memory")
    }

    /// Makes a system call of a 64-bit program.
    ///
    /// # Panics
    /// If there is no call of that name, which is a bug of the test.
    pub fn call(&mut self, name: &str, args: [u64; 6]) -> Ran {
        let number = ScmpSyscall::from_name(name).expect("there is no such system call").as_raw_syscall();
        self.run(Call { id: 1, tid: 1, abi: Abi::Native, number, args })
    }

    /// Makes any call.
    pub fn run(&mut self, call: Call) -> Ran {
        self.recorded(|handlers, memory| match handlers.answer(&call, memory) {
            Some((_, answer)) => answer,
            None => Answer::Continue { reason: "no handler claims it" },
        })
    }

    /// Opens a device.
    ///
    /// # Errors
    /// `ENOENT` if no handler has a device at this path; else the handler's errno.
    pub fn open(&mut self, path: &str, flags: u32) -> Result<FileHandle, Errno> {
        self.open_recorded(path, flags).answer
    }

    /// Opens a device like [`open`](Self::open), and also returns what the handler recorded.
    pub fn open_recorded(&mut self, path: &str, flags: u32) -> Ran<Result<FileHandle, Errno>> {
        let id = ArenaId { index: self.next_file, generation: 0 };
        self.next_file += 1;
        self.recorded(|handlers, memory| {
            let device = handlers.device_at(path).ok_or(Errno::ENOENT)?;
            handlers.open_device(device, flags, id, &Call::open(1, 1, flags), memory)?;
            Ok(FileHandle { id, device })
        })
    }

    /// Makes an `ioctl` request on an open file. A request that the device does not claim fails with
    /// `ENOTTY`.
    pub fn ioctl(&mut self, file: FileHandle, request: u32, arg: u64) -> Ran {
        let number = libc::SYS_ioctl as i32;
        let args = [0, u64::from(request), arg, 0, 0, 0];
        let call = Call { id: 1, tid: 1, abi: Abi::Native, number, args };
        self.recorded(|handlers, memory| match handlers.ioctl((file.id, file.device), &call, memory) {
            Some((_, answer)) => answer,
            None => Answer::Fail(Errno::ENOTTY),
        })
    }

    /// Collects what remote sections with `handle` record, as a thread that has used `KCOV_REMOTE_ENABLE` with this
    /// common handle. It is also the common handle of all callers.
    pub fn collect_remotely(&mut self, handle: u64) {
        let host = Rc::new(OneHandle { handle, mode: self.mode, records: new_area() });
        remote::install(host.clone());
        self.memory.common_handle = handle;
        self.remote = Some(host);
    }

    /// Takes what the remote sections that have stopped have recorded. Empty without
    /// [`collect_remotely`](Self::collect_remotely).
    pub fn take_remote(&mut self) -> Ran<()> {
        let Some(host) = &self.remote else {
            return Ran { answer: (), pcs: Vec::new(), comparisons: Vec::new() };
        };
        let taken = ran((), &host.records, host.mode);
        host.records[0].store(0, Ordering::Relaxed);
        taken
    }

    /// Closes the last descriptor of a file.
    pub fn close(&mut self, file: FileHandle) {
        self.handlers.close(file.id);
    }

    fn recorded<T>(&mut self, work: impl FnOnce(&mut Handlers, &mut TenantMemory) -> T) -> Ran<T> {
        let Harness { handlers, memory, mode, .. } = self;
        let words = new_area();
        let Some(area) = Area::new(&words) else {
            unreachable!("an area of {WORDS} words is valid");
        };
        let (answer, _) = Scope::enter(area, *mode, |_| work(handlers, memory));
        ran(answer, &words, *mode)
    }
}

fn new_area() -> Vec<AtomicU64> {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

/// The answer with the records of an area.
fn ran<T>(answer: T, words: &[AtomicU64], mode: TraceMode) -> Ran<T> {
    let (mut pcs, mut comparisons) = (Vec::new(), Vec::new());
    match (Area::new(words), mode) {
        (Some(area), TraceMode::Pc) => pcs = area.pcs(),
        (Some(area), TraceMode::Cmp) => comparisons = area.cmps(),
        (None, _) => {}
    }
    Ran { answer, pcs, comparisons }
}

/// The host of remote sections: an instance with one handle.
#[derive(Debug)]
struct OneHandle {
    handle: u64,
    mode: TraceMode,
    records: Vec<AtomicU64>,
}

impl Host for OneHandle {
    fn target(&self, handle: u64) -> Option<RemoteTarget> {
        let arena = ArenaId { index: 0, generation: 0 };
        let (mode, words) = (self.mode, self.records.len() as u64);
        (handle == self.handle && handle != 0).then_some(RemoteTarget {
            arena,
            mode,
            words,
            area_size: WORDS as u32,
            sequence: 0,
        })
    }

    fn append(&self, _: &RemoteTarget, records: &Area<'_>) {
        if let Some(area) = Area::new(&self.records) {
            area.merge(records, self.mode);
        }
    }

    fn unbuffered(&self) {}
}

/// The tenant's memory: pieces by address, with unmapped pages between them.
#[derive(Debug, Default)]
struct TenantMemory {
    pieces: BTreeMap<u64, Vec<u8>>,
    common_handle: u64,
}

impl TenantMemory {
    fn map(&mut self, bytes: Vec<u8>) -> u64 {
        let end = self.pieces.last_key_value().map(|(start, piece)| start + piece.len() as u64);
        let address = end.map_or(FIRST_ADDRESS, |end| (end / PAGE + 2) * PAGE);
        self.pieces.insert(address, bytes);
        address
    }

    /// The piece that contains a range of addresses, and the range within the piece.
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

impl CallerMemory for TenantMemory {
    fn read(&mut self, _: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
        self.get(address, length as usize).map(<[u8]>::to_vec).ok_or(Errno::EFAULT)
    }

    fn write(&mut self, _: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let (start, range) = self.find(address, bytes.len()).ok_or(Errno::EFAULT)?;
        self.pieces.get_mut(&start).ok_or(Errno::EFAULT)?[range].copy_from_slice(bytes);
        Ok(())
    }

    fn common_handle(&mut self, _: &Call) -> u64 {
        self.common_handle
    }
}
