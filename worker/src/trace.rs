//! What a call leaves that no handler claims: its edge, or comparisons of its arguments with the values that matter
//! for it. The kernel then runs the call.
//!
//! - `calls` has a row a system call: its site, and a class an argument;
//! - `classes` has the classes: what an argument is compared with.
//!
//! A trace is a function of the call alone, as clients need (`syzkaller` mixes each PC with the one before). A
//! number that no row has, and a call of a foreign table, leave nothing, as in the kernel. So do the numbers of calls
//! that Linux no longer has (`nfsservctl`, `create_module`...).

mod calls;
mod classes;

use crate::call::{Abi, Call, X32_BIT};
use crate::record::Scope;
use crate::record::{record_cmp_at, record_edge_at};
use crate::sys::recording::collects_cmps;
use crate::{kcov_cmp_site, kcov_edge_site};
use calls::{CALLS, Number, Row};
use classes::Comparison;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::Area;
use kcov_proto::area::CmpSize;
use kcov_proto::message::Heartbeat;
use kcov_proto::site::Site;
use kcov_proto::sync::AtomicU64;
use libseccomp::{ScmpArch, ScmpSyscall};
use std::collections::HashMap;

/// End of the system call numbers: that of x32 is 548, those of the others are below 512.
const NUMBER_END: i32 = 600;

/// The trace handler's tables, from system call number to row. Build it once, before forking: it asks libseccomp for
/// some thousand names.
#[derive(Debug)]
pub struct Tracer {
    native: Table,
    i386: Table,
    x32: Table,
}

impl Default for Tracer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracer {
    /// For this machine.
    #[must_use]
    pub fn new() -> Self {
        let amd64 = |arch| if cfg!(target_arch = "x86_64") { Table::new(arch) } else { Table::default() };
        Tracer { native: Table::new(ScmpArch::Native), i386: amd64(ScmpArch::X86), x32: amd64(ScmpArch::X32) }
    }

    /// Records the call into the area that is armed for this thread: its edge, or its comparisons.
    pub fn record(&self, call: &Call) {
        let Some(row) = self.row(call) else { return };
        record_edge_at(row.site);
        if collects_cmps() {
            record_comparisons(row, call);
        }
    }

    /// The name of the system call; `None` for one that leaves nothing.
    #[must_use]
    pub fn name(&self, call: &Call) -> Option<&'static str> {
        self.row(call).map(|row| row.name)
    }

    fn row(&self, call: &Call) -> Option<&'static Row> {
        match call.abi {
            Abi::Native => self.native.get(call.number),
            Abi::I386 => self.i386.get(call.number),
            Abi::X32 if call.number & X32_BIT != 0 => self.x32.get(call.number & !X32_BIT),
            Abi::X32 | Abi::Foreign => None,
        }
    }
}

/// Rows by number.
#[derive(Debug, Default)]
struct Table(Vec<Option<&'static Row>>);

impl Table {
    /// By number and not by name: for the socket calls of i386, which `socketcall` is instead of, libseccomp resolves
    /// only numbers.
    fn new(arch: ScmpArch) -> Self {
        let rows: HashMap<&str, &'static Row> = CALLS.iter().map(|row| (row.name, row)).collect();
        let mut table: Vec<Option<&'static Row>> = (0..NUMBER_END)
            .map(|number| ScmpSyscall::from(if arch == ScmpArch::X32 { number | X32_BIT } else { number }))
            .map(|call| rows.get(call.get_name_by_arch(arch).ok()?.as_str()).copied())
            .collect();
        for (number, row) in CALLS.iter().filter_map(|row| Some((newer_number(row, arch)?, row))) {
            table[number].get_or_insert(row);
        }
        Table(table)
    }

    fn get(&self, number: i32) -> Option<&'static Row> {
        usize::try_from(number).ok().and_then(|number| *self.0.get(number)?)
    }
}

/// The number of a call that libseccomp may be too old to know.
fn newer_number(row: &Row, arch: ScmpArch) -> Option<usize> {
    match row.newer {
        Number::Resolved => None,
        Number::Everywhere(number) => Some(number),
        Number::Amd64(number) => (cfg!(target_arch = "x86_64") && arch == ScmpArch::Native).then_some(number),
    }
}

/// Leaves what the row's classes say, or, if clients would keep none of that, the comparison that the kernel's entry
/// makes: of the number with the end of the table. At least one record is left, and clients keep all that are.
fn record_comparisons(row: &Row, call: &Call) {
    let mut left = false;
    for comparison in comparisons(row, call).filter(Comparison::is_kept) {
        left = true;
        leave(row.site, comparison);
    }
    if !left {
        let number = u64::from(call.number.unsigned_abs());
        leave(
            row.site,
            Comparison { size: CmpSize::Four, constant: true, arg1: NUMBER_END as u64, arg2: number },
        );
    }
}

fn leave(site: &'static Site, comparison: Comparison) {
    let Comparison { size, constant, arg1, arg2 } = comparison;
    record_cmp_at(site, size, constant, arg1, arg2);
}

fn comparisons(row: &Row, call: &Call) -> impl Iterator<Item = Comparison> {
    let args = call.args;
    row.args.iter().enumerate().flat_map(move |(at, class)| class.iter().map(move |test| test.of(&args, at)))
}

/// Leaves a record that means nothing but that collecting works: for `ENABLE`, and for a handler without coverage of its
/// own, as clients take an empty trace for a device without coverage.
#[allow(unsafe_code, reason = "the macros put sites in a link section, if recording is on")]
pub fn heartbeat() {
    // Operands that are no argument of a program, so that a fuzzer that replaces one by the other finds none.
    const HEARD: u32 = u32::from_be_bytes(*b"kcov");
    kcov_edge_site!("heartbeat");
    kcov_cmp_site!("heartbeat comparison", 4, true, HEARD, !HEARD);
}

/// The records that [`heartbeat`] leaves, for the broker to leave them at `ENABLE`.
#[must_use]
pub fn heartbeat_records() -> Heartbeat {
    let words: [AtomicU64; 8] = std::array::from_fn(|_| AtomicU64::new(0));
    let Some(area) = Area::new(&words) else { return Heartbeat::default() };
    Scope::enter(area, TraceMode::Pc, |_| heartbeat());
    let pc = area.pcs().first().copied().unwrap_or_default();
    area.reset();
    Scope::enter(area, TraceMode::Cmp, |_| heartbeat());
    Heartbeat { pc, cmp: area.cmps().first().copied().unwrap_or_default() }
}

#[cfg(test)]
mod tests;
