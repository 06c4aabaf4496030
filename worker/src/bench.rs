//! Measures the cost of a record, next to that of the kernel's own append in C.
//!
//! Our code and the C code ("limit") append to one area in turns, in batches that fill it. The results are
//! medians. A record is one function call on both sides, like a callback of instrumented code.

mod memory;

pub use memory::MemoryMover;

use crate::record::{Scope, record_cmp, record_edge_id, record_pc};
use crate::sys::bench::{append_cmps, append_pcs, append_pcs_shared, empty, trace_pc, trace_pc_guard};
use crate::sys::sancov;
use crate::sys::shared::SharedWords;
use anyhow::{Context, Result, ensure};
use kcov_proto::abi::{CMP_WORDS, TraceMode};
use kcov_proto::area::{Area, CmpKind, CmpRecord, CmpSize};
use kcov_proto::cover_map::{self, CoverMap};
use kcov_proto::site::TEXT_START;
use kcov_proto::sync::AtomicU64;
use kcov_proto::unique::Trace;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Pid, ftruncate};
use std::fmt::Write;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

/// Records in a batch. Their PCs fit into a first-level cache of 32 KiB, as those of most traces do.
const RECORDS: u64 = 2048;
/// Size of the area in words: a batch of comparisons fills it.
const WORDS: u64 = 1 + RECORDS * CMP_WORDS;
/// Batches in a measurement: about 100 us, long compared to the clock's resolution, short compared to a time
/// slice.
const REPEATS: u32 = 32;
/// Measurements of each side; odd, so that the median is one of them.
const ROUNDS: usize = 101;
/// First PC.
const PC: u64 = TEXT_START;

/// Code to time: appends [`RECORDS`] records to an empty area.
type Batch<'a> = &'a dyn Fn();

/// Runs all measurements. Prints a JSON array of `{"key", "limit", "ours"}`, in nanoseconds per record.
///
/// # Errors
/// If a batch leaves another count in the area than expected: then it did not measure what it should.
pub fn run() -> Result<()> {
    let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    let area = Area::new(&words).context("an area of this size is one")?;
    let guards: Vec<AtomicU32> =
        (0..RECORDS).map(|record| AtomicU32::new((PC + 8 * record) as u32)).collect();
    // Assigns PCs to the program's instrumented code.
    sancov::settle();
    let figures = [
        (
            "pc",
            armed(area, TraceMode::Pc, &|| append_pcs(&words, RECORDS, PC), &each(record_pc_out_of_line))?,
        ),
        (
            "cmp",
            armed(area, TraceMode::Cmp, &|| append_cmps(&words, RECORDS, PC), &each(record_cmp_out_of_line))?,
        ),
        (
            "area-pc",
            compare(
                area,
                RECORDS,
                &|| append_pcs(&words, RECORDS, PC),
                &each(|pc| append_pc_to_area(&area, pc)),
            )?,
        ),
        (
            "area-cmp",
            compare(
                area,
                RECORDS,
                &|| append_cmps(&words, RECORDS, PC),
                &each(|pc| append_cmp_to_area(&area, pc)),
            )?,
        ),
        ("unarmed", compare(area, 0, &each(empty), &each(callback))?),
        ("trace-pc", armed(area, TraceMode::Pc, &|| append_pcs(&words, RECORDS, PC), &each(|_| trace_pc()))?),
        ("guard", armed(area, TraceMode::Pc, &|| append_pcs(&words, RECORDS, PC), &each_guard(&guards))?),
        ("trace-pc-unarmed", compare(area, 0, &each(empty), &each(|_| trace_pc()))?),
        ("guard-unarmed", compare(area, 0, &each(empty), &each_guard(&guards))?),
        ("cover-pc", covered(area)?),
        ("unique-seen", seen(area, &words)?),
        ("shared-pc", contended()?),
    ];
    let mut json = String::new();
    for (key, (limit, ours)) in figures {
        let comma = if json.is_empty() { "" } else { "," };
        write!(json, r#"{comma}{{"key":"{key}","limit":{limit:.4},"ours":{ours:.4}}}"#)?;
    }
    println!("[{json}]");
    Ok(())
}

/// Stands for the callback of instrumented code at each point.
#[inline(never)]
fn callback(id: u64) {
    record_edge_id(id);
}

/// The four ways to make a record. Each is a call that is not inlined.
#[inline(never)]
fn record_pc_out_of_line(pc: u64) {
    // Fails only outside the text range. A full area is not an error, and no batch overfills it.
    let _ = record_pc(pc);
}

#[inline(never)]
fn record_cmp_out_of_line(pc: u64) {
    // As above.
    let _ = record_cmp(8, false, pc, PC, pc);
}

#[inline(never)]
fn append_pc_to_area(area: &Area<'_>, pc: u64) {
    area.append_pc(pc);
}

#[inline(never)]
fn append_cmp_to_area(area: &Area<'_>, pc: u64) {
    let kind = CmpKind { size: CmpSize::Eight, constant: false };
    area.append_cmp(CmpRecord { kind, arg1: pc, arg2: PC, pc });
}

/// A batch of calls with different PCs.
fn each(call: impl Fn(u64)) -> impl Fn() {
    move || {
        for record in 0..RECORDS {
            call(PC + 8 * record);
        }
    }
}

/// A handler's record, without and with a coverage map.
fn covered(area: Area<'_>) -> Result<(f64, f64)> {
    let file = memfd_create(c"kcov-cover", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
    ftruncate(&file, cover_map::BYTES as i64).context("ftruncate")?;
    let marks = SharedWords::map(&file, cover_map::BYTES / 8, true).context("mmap")?;
    let map = CoverMap::new(marks.bytes().try_into()?);
    let batch = each(record_pc_out_of_line);
    let recorded = || Scope::enter(area, TraceMode::Pc, |_| batch()).0;
    compare(area, RECORDS, &recorded, &|| Scope::cover(map, recorded))
}

/// The kernel's record, and a point that the bitmap has already.
fn seen(area: Area<'_>, words: &[AtomicU64]) -> Result<(f64, f64)> {
    /// Room for all points of the program.
    const BITMAP: u64 = 1024;
    let with_bitmap: Vec<AtomicU64> = (0..BITMAP + WORDS).map(|_| AtomicU64::new(0)).collect();
    let trace = Trace::new(&with_bitmap, BITMAP, false).context("an area of this size is one")?;
    let (mut limits, mut products) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    Scope::enter(trace, TraceMode::Pc, |_| {
        for _ in 0..ROUNDS {
            limits.push(time(area, RECORDS, &|| append_pcs(words, RECORDS, PC))?);
            products.push(time(trace.area, 0, &each(|_| trace_pc()))?);
        }
        Ok((median(limits), median(products)))
    })
    .0
}

/// Two threads append to one area: by a compare-and-swap in C, and as handlers do.
fn contended() -> Result<(f64, f64)> {
    const EACH: u64 = RECORDS * REPEATS as u64;
    let words: Vec<AtomicU64> = (0..=2 * EACH).map(|_| AtomicU64::new(0)).collect();
    let trace = Trace::new(&words, 0, true).context("an area of this size is one")?;
    let limit = || append_pcs_shared(&words, EACH, PC);
    let ours = || {
        let batch = each(record_pc_out_of_line);
        Scope::enter(trace, TraceMode::Pc, |_| (0..REPEATS).for_each(|_| batch()));
    };
    let (mut limits, mut products) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    let pinned = use_all_cpus();
    for _ in 0..ROUNDS {
        limits.push(time_two(trace.area, 2 * EACH, &limit)?);
        products.push(time_two(trace.area, 2 * EACH, &ours)?);
    }
    if let Ok(cpus) = pinned {
        sched_setaffinity(Pid::from_raw(0), &cpus).context("sched_setaffinity")?;
    }
    Ok((median(limits), median(products)))
}

/// Lets this thread, and those that it starts, run on all CPUs. Returns the CPUs that it could run on before:
/// `kcov-broker bench` has pinned it to one, where two threads do not contend.
fn use_all_cpus() -> nix::Result<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0))?;
    let mut all = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        all.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &all)?;
    Ok(before)
}

/// Time that two threads need which run `batch` at the same time.
fn time_two(area: Area<'_>, expected: u64, batch: &(dyn Fn() + Sync)) -> Result<Duration> {
    area.reset();
    let barrier = Barrier::new(2);
    let elapsed = thread::scope(|scope| {
        let other = scope.spawn(|| {
            barrier.wait();
            batch();
        });
        barrier.wait();
        let start = Instant::now();
        batch();
        // A panic of the other thread is passed on when the scope ends.
        let _ = other.join();
        start.elapsed()
    });
    ensure!(area.count() == expected, "{} records instead of {expected}", area.count());
    Ok(elapsed)
}

/// A batch of calls, each with its own guard.
fn each_guard(guards: &[AtomicU32]) -> impl Fn() {
    move || guards.iter().for_each(trace_pc_guard)
}

/// Like [`compare`], with `area` enabled for this thread.
fn armed(area: Area<'_>, mode: TraceMode, limit: Batch<'_>, ours: Batch<'_>) -> Result<(f64, f64)> {
    Scope::enter(area, mode, |_| compare(area, RECORDS, limit, ours)).0
}

/// Nanoseconds per record of `limit` and of `ours`. Each batch must leave `expected` records.
fn compare(area: Area<'_>, expected: u64, limit: Batch<'_>, ours: Batch<'_>) -> Result<(f64, f64)> {
    let (mut limits, mut products) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        limits.push(time(area, expected, limit)?);
        products.push(time(area, expected, ours)?);
    }
    Ok((median(limits), median(products)))
}

fn time(area: Area<'_>, expected: u64, batch: Batch<'_>) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..REPEATS {
        area.reset();
        batch();
    }
    let elapsed = start.elapsed();
    ensure!(area.count() == expected, "{} records instead of {expected}", area.count());
    Ok(elapsed)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / (f64::from(REPEATS) * RECORDS as f64)
}
