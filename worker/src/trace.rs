//! The trace of calls that no handler claims: a PC for the call, or comparisons of its arguments with values
//! that matter to the kernel. The kernel then runs the call.
//!
//! - `calls` has a row for each system call: its site, and a class for each argument;
//! - `classes` defines the classes: the values that an argument is compared with.
//!
//! A trace depends only on the call, because clients need that (syzkaller hashes each PC with the previous
//! one). Calls without a row, and calls of a foreign table, record nothing, as in the kernel. This includes
//! calls that Linux has removed (`nfsservctl`, `create_module`, ...).

mod calls;
mod classes;

use crate::call::{Abi, Call, X32_BIT};
use crate::call_table::CallTable;
use crate::record::{Scope, record_cmp_at, record_edge_at};
use crate::sys::recording::collects_cmps;
use crate::sys::sancov::points;
use calls::{CALLS, Number, Row};
use classes::Comparison;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Area, CmpSize};
use kcov_proto::message::Heartbeat;
use kcov_proto::site::Site;
use kcov_proto::sync::AtomicU64;
use libseccomp::ScmpSyscall;
use std::collections::HashMap;

/// Upper bound of system call numbers: x32 ends at 548, the others below 512.
const NUMBER_END: i32 = 600;

/// The rows of this machine's system calls. Build it once, before forking: it looks up about a thousand
/// numbers in libseccomp.
#[derive(Debug)]
pub struct Tracer {
    rows: CallTable<&'static Row>,
}

impl Default for Tracer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracer {
    /// Looks up the rows of this machine's system calls.
    ///
    /// Goes from numbers to names, not the other way round: libseccomp does not resolve the names of the i386
    /// socket calls, because `socketcall` came before them.
    #[must_use]
    pub fn new() -> Self {
        let by_name: HashMap<&str, &'static Row> = CALLS.iter().map(|row| (row.name, row)).collect();
        let mut rows = CallTable::default();
        for abi in Abi::of_machine() {
            let Some(arch) = abi.arch() else { continue };
            let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
            let named = (0..NUMBER_END).map(|number| number | bit).filter_map(|number| {
                let name = ScmpSyscall::from(number).get_name_by_arch(arch).ok()?;
                Some((number, *by_name.get(name.as_str())?))
            });
            let newer = CALLS.iter().filter_map(|row| Some((newer_number(row, abi)? | bit, row)));
            for (number, row) in named.chain(newer) {
                rows.entry(abi, number).map(|entry| entry.get_or_insert(row));
            }
        }
        Tracer { rows }
    }

    /// Records the call into the enabled area: its PC or its comparisons.
    pub fn record(&self, call: &Call) {
        let Some(row) = self.row(call) else { return };
        record_edge_at(row.site);
        if collects_cmps() {
            record_comparisons(row, call);
        }
    }

    /// Name of the system call; `None` if it records nothing.
    #[must_use]
    pub fn name(&self, call: &Call) -> Option<&'static str> {
        self.row(call).map(|row| row.name)
    }

    /// Returns whether the call creates a thread or a process, and which of the two it is: `Some(None)` if
    /// that is in memory.
    #[must_use]
    pub fn creation(&self, call: &Call) -> Option<Option<bool>> {
        match self.name(call)? {
            "clone" => Some(Some(call.args[0] & libc::CLONE_THREAD as u64 != 0)),
            "fork" | "vfork" => Some(Some(false)),
            "clone3" => Some(None),
            _ => None,
        }
    }

    /// Returns the first and the last of the descriptors that the call closes, if it closes any.
    #[must_use]
    pub fn closing(&self, call: &Call) -> Option<(u32, u32)> {
        let [first, second, ..] = call.args.map(|arg| arg as u32);
        match self.name(call)? {
            "close" => Some((first, first)),
            "close_range" => Some((first, second)),
            "dup2" | "dup3" => Some((second, second)),
            _ => None,
        }
    }

    fn row(&self, call: &Call) -> Option<&'static Row> {
        self.rows.get(call.abi, call.number).copied()
    }
}

/// The number of a call that the installed libseccomp may be too old to know.
fn newer_number(row: &Row, abi: Abi) -> Option<i32> {
    match row.number {
        Number::Resolved => None,
        Number::Everywhere(number) => Some(number),
        Number::Amd64(number) => (cfg!(target_arch = "x86_64") && abi == Abi::Native).then_some(number),
    }
}

/// Records the comparisons of the row's classes. If clients would discard all of them, records the comparison
/// that the kernel's system call entry makes: the number with the end of the table. So there is always at
/// least one record, and clients keep all of them.
fn record_comparisons(row: &Row, call: &Call) {
    let mut recorded = false;
    for comparison in comparisons(row, call).filter(Comparison::is_kept) {
        recorded = true;
        append(row.site, comparison);
    }
    if !recorded {
        let number = u64::from(call.number.unsigned_abs());
        append(
            row.site,
            Comparison { size: CmpSize::Four, constant: true, arg1: NUMBER_END as u64, arg2: number },
        );
    }
}

fn append(site: &'static Site, comparison: Comparison) {
    let Comparison { size, constant, arg1, arg2 } = comparison;
    record_cmp_at(site, size, constant, arg1, arg2);
}

fn comparisons(row: &Row, call: &Call) -> impl Iterator<Item = Comparison> {
    let args = call.args;
    row.args.iter().enumerate().flat_map(move |(at, class)| class.iter().map(move |test| test.of(&args, at)))
}

/// Records a heartbeat, which only shows that collecting works: at `ENABLE`, and when a handler recorded
/// nothing. Clients take an empty trace for a device without coverage.
#[allow(unsafe_code, reason = "the macros put sites in a link section, if recording is on")]
pub fn heartbeat() {
    // Values that are unlikely as an argument, so that a fuzzer that replaces one operand by the other finds
    // no place.
    const HEARTBEAT: u32 = u32::from_be_bytes(*b"kcov");
    kcov_edge_site!("heartbeat");
    kcov_cmp_site!("heartbeat comparison", 4, true, HEARTBEAT, !HEARTBEAT);
}

/// The records that [`heartbeat`] makes. The broker appends them at `ENABLE`.
#[must_use]
pub fn heartbeat_records() -> Heartbeat {
    let words: [AtomicU64; 8] = std::array::from_fn(|_| AtomicU64::new(0));
    let Some(area) = Area::new(&words) else { return Heartbeat::default() };
    Scope::enter(area, TraceMode::Pc, |_| heartbeat());
    let pc = area.pcs().first().copied().unwrap_or_default();
    points::set_heartbeat(pc);
    area.reset();
    Scope::enter(area, TraceMode::Cmp, |_| heartbeat());
    Heartbeat { pc, cmp: area.cmps().first().copied().unwrap_or_default() }
}

#[cfg(test)]
mod tests;
