//! The operations that the benchmark times. The same code runs under the product and under the limit.

use crate::sys::bench::{self, device::Device};
use crate::sys::fork;
use anyhow::{Context, Result, ensure};
use kcov_proto::message::MAX_READ;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::getppid;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Path of the device.
const DEVICE: &str = "/sys/kernel/debug/kcov";
/// Threads of [`Workload::Callers`].
const CALLERS: u32 = 4;
/// Calls of a test program ([`Workload::Program`]).
const PROGRAM_CALLS: u32 = 10;
/// Sizes of areas in bytes: the smallest that can be mapped, and that of syzkaller.
const SMALL_AREA: usize = 4 << 10;
const LARGE_AREA: usize = 4 << 20;
/// Devices that [`Workload::DeviceOpen`] keeps open. The number is below any quota.
const OPEN_AT_ONCE: u32 = 16;

/// Bytes that a handler copies at a time: the maximum of one request.
const MOVED: usize = MAX_READ;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// One thread calls `getppid`, which is trapped and continued.
    Noop,
    /// The same under the product on both sides, with and without the live view.
    LiveView,
    /// Four threads call `getppid`.
    Callers,
    /// `KCOV_ENABLE` and `KCOV_DISABLE` in turn.
    Ioctl,
    /// open, `KCOV_INIT_TRACE`, mmap, `KCOV_ENABLE`, `KCOV_DISABLE`, munmap, close with a 4 KiB area.
    CycleSmall,
    /// The same with 4 MiB.
    CycleLarge,
    /// Opens of the device.
    DeviceOpen,
    /// Opens of a plain file.
    FileOpen,
    /// A test program as syzkaller's executor runs it: a forked child enables an inherited instance, makes
    /// some calls and exits without disabling it.
    Program,
    /// A handler reads 64 KiB of its caller's memory.
    HandlerRead,
    /// A handler writes 64 KiB of its caller's memory.
    HandlerWrite,
}

impl Workload {
    /// Operations of a batch. It takes 5 to 30 ms: long compared with reading the clock and the pipes, short
    /// compared with the drift of a shared machine.
    #[must_use]
    pub fn batch(self) -> u32 {
        match self {
            Workload::Noop | Workload::LiveView | Workload::Callers => 4000,
            Workload::Ioctl => 2000,
            Workload::CycleSmall => 250,
            Workload::CycleLarge => 100,
            Workload::DeviceOpen => 800,
            Workload::FileOpen => 1600,
            Workload::Program => 50,
            Workload::HandlerRead | Workload::HandlerWrite => 100,
        }
    }

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A workload and its files.
#[derive(Debug)]
pub struct Session {
    workload: Workload,
    /// An initialised device for [`Workload::Ioctl`] and [`Workload::Program`].
    device: Option<Device>,
    /// A plain file.
    file: PathBuf,
}

impl Session {
    /// Opens the files of `workload`.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn prepare(workload: Workload) -> Result<Session> {
        let device = match workload {
            Workload::Ioctl => Some(initialised(SMALL_AREA)?),
            Workload::Program => Some(initialised(LARGE_AREA)?),
            _ => None,
        };
        Ok(Session { workload, device, file: std::env::current_exe()? })
    }

    /// Runs `operations` operations. Returns how long they took.
    ///
    /// # Errors
    /// If one of them fails.
    pub fn batch(&self, operations: u32) -> Result<Duration> {
        match self.workload {
            Workload::Noop | Workload::LiveView => timed(|| call(operations)),
            Workload::Callers => timed(|| callers(operations)),
            Workload::Ioctl => timed(|| self.pairs(operations / 2)),
            Workload::CycleSmall => timed(|| cycles(operations, SMALL_AREA)),
            Workload::CycleLarge => timed(|| cycles(operations, LARGE_AREA)),
            Workload::DeviceOpen => self.device_opens(operations),
            Workload::FileOpen => timed(|| file_opens(&self.file, operations)),
            Workload::Program => timed(|| self.programs(operations)),
            Workload::HandlerRead => timed(|| moves(operations, false)),
            Workload::HandlerWrite => timed(|| moves(operations, true)),
        }
    }

    fn programs(&self, times: u32) -> Result<()> {
        let device = self.device.as_ref().context("no device was prepared")?;
        for _ in 0..times {
            let program = fork::child(|| {
                let enabled = device.enable();
                let called = call(PROGRAM_CALLS);
                i32::from(enabled.is_err() || called.is_err())
            });
            let status = waitpid(program.context("fork")?, None)?;
            ensure!(matches!(status, WaitStatus::Exited(_, 0)), "a test program: {status:?}");
        }
        Ok(())
    }

    /// Closing is not timed, because the work that it causes in the broker is not a cost of open. Without a device, as on
    /// most machines for the limit, a plain file is opened.
    fn device_opens(&self, times: u32) -> Result<Duration> {
        let device = Path::new(DEVICE);
        let path = if device.exists() { device } else { &self.file };
        let mut total = Duration::ZERO;
        let mut held = Vec::with_capacity(OPEN_AT_ONCE as usize);
        for _ in 0..times / OPEN_AT_ONCE {
            let start = Instant::now();
            for _ in 0..OPEN_AT_ONCE {
                let opened = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
                held.push(opened.with_context(|| format!("open {}", path.display()))?);
            }
            total += start.elapsed();
            held.clear();
        }
        Ok(total)
    }

    fn pairs(&self, pairs: u32) -> Result<()> {
        let device = self.device.as_ref().context("no device was prepared")?;
        for _ in 0..pairs {
            device.enable().context("KCOV_ENABLE")?;
            device.disable().context("KCOV_DISABLE")?;
        }
        Ok(())
    }
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for every workload")]
fn call(times: u32) -> Result<()> {
    for _ in 0..times {
        std::hint::black_box(getppid());
    }
    Ok(())
}

/// The time includes starting and joining the threads, for both sides.
fn callers(operations: u32) -> Result<()> {
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| call(operations / CALLERS));
        }
    });
    Ok(())
}

fn initialised(bytes: usize) -> Result<Device> {
    let device = Device::open(Path::new(DEVICE)).with_context(|| format!("open {DEVICE}"))?;
    device.init((bytes / 8) as u64).context("KCOV_INIT_TRACE")?;
    Ok(device)
}

fn cycles(times: u32, bytes: usize) -> Result<()> {
    let length = NonZeroUsize::new(bytes).context("an area has a size")?;
    for _ in 0..times {
        let device = initialised(bytes)?;
        let mapping = device.map(length).context("mmap of the area")?;
        device.enable().context("KCOV_ENABLE")?;
        device.disable().context("KCOV_DISABLE")?;
        drop(mapping);
    }
    Ok(())
}

/// The memory is resident, as that of most callers.
fn moves(times: u32, write: bool) -> Result<()> {
    let mut memory = vec![1; MOVED];
    for _ in 0..times {
        bench::call_with_memory(&mut memory, write).context("a call with memory")?;
    }
    Ok(())
}

fn file_opens(path: &Path, times: u32) -> Result<()> {
    for _ in 0..times {
        open(path, OFlag::O_RDONLY, Mode::empty()).with_context(|| format!("open {}", path.display()))?;
    }
    Ok(())
}
