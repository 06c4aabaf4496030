//! The measurements and their goals.

use super::table::{Goal, Unit};
use super::workload::Workload;

/// A measurement of a client under the product and under the limit.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The operations of the client. Its name is the key of the row.
    pub workload: Workload,
    /// Description in the table.
    pub what: &'static str,
    /// Unit in the table.
    pub unit: Unit,
    /// The goal.
    pub goal: Goal,
    /// The best known result.
    pub aim: Goal,
}

/// A measurement that the worker program makes.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// Key of the row, as reported by the worker program.
    pub key: &'static str,
    /// Description in the table.
    pub what: &'static str,
    /// The goal.
    pub goal: Goal,
    /// The best known result.
    pub aim: Goal,
}

/// All comparisons in their order. The no-op notification is first, because it is the unit of later goals.
pub const COMPARISONS: [Comparison; 11] = [
    Comparison {
        workload: Workload::Noop,
        what: "no-op notification",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.15),
    },
    Comparison {
        workload: Workload::LiveView,
        what: "no-op notification, shown or not",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(1.05),
        aim: Goal::AtMost(1.02),
    },
    Comparison {
        workload: Workload::Callers,
        what: "no-op notification, 4 callers",
        unit: Unit::PerSecond,
        goal: Goal::AtLeast(0.95),
        aim: Goal::AtLeast(0.99),
    },
    Comparison {
        workload: Workload::Ioctl,
        what: "KCOV_ENABLE or KCOV_DISABLE",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(3.5),
        aim: Goal::AtMost(2.5),
    },
    Comparison {
        workload: Workload::CycleSmall,
        what: "device, open to close, 4 KiB area",
        unit: Unit::Nanoseconds,
        // 90 us and 60 us if a no-op notification takes 2.5 us.
        goal: Goal::Notifications(36.0),
        aim: Goal::Notifications(24.0),
    },
    Comparison {
        workload: Workload::CycleLarge,
        what: "device, open to close, 4 MiB area",
        unit: Unit::Nanoseconds,
        // 300 us.
        goal: Goal::Notifications(120.0),
        aim: Goal::Notifications(36.0),
    },
    Comparison {
        workload: Workload::DeviceOpen,
        what: "open of the device, beside native",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(2.0),
        aim: Goal::AtMost(1.5),
    },
    Comparison {
        workload: Workload::FileOpen,
        what: "open of a plain file, beside native",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(1.05),
        aim: Goal::AtMost(1.0),
    },
    Comparison {
        workload: Workload::Program,
        what: "test program of 10 calls, traced for syzkaller",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(1.5),
        aim: Goal::AtMost(1.2),
    },
    // The limit copies once. The product needs four copies, because there are two mutually distrusting
    // processes and a socket between caller and handler. It also records memory that was read in the journal,
    // for crash artifacts.
    Comparison {
        workload: Workload::HandlerRead,
        what: "64 KiB of memory, read by a handler",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(9.0),
        aim: Goal::AtMost(6.0),
    },
    Comparison {
        workload: Workload::HandlerWrite,
        what: "64 KiB of memory, written by a handler",
        unit: Unit::Nanoseconds,
        goal: Goal::AtMost(6.0),
        aim: Goal::AtMost(4.0),
    },
];

/// The measurements of `kcov-worker bench-record`, in their order.
pub const RECORDINGS: [Recording; 12] = [
    Recording { key: "pc", what: "PC record, by a handler", goal: Goal::AtMost(1.5), aim: Goal::AtMost(1.3) },
    Recording {
        key: "cmp",
        what: "CMP record, by a handler",
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.2),
    },
    Recording {
        key: "area-pc",
        what: "PC record, only the append",
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.0),
    },
    Recording {
        key: "area-cmp",
        what: "CMP record, only the append",
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.2),
    },
    Recording {
        key: "unarmed",
        what: "callback with nothing armed",
        goal: Goal::AtMost(1.1),
        aim: Goal::AtMost(1.0),
    },
    Recording {
        key: "trace-pc",
        what: "PC record by trace_pc",
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.1),
    },
    Recording {
        key: "guard",
        what: "PC record by trace_pc_guard",
        goal: Goal::AtMost(1.3),
        aim: Goal::AtMost(1.1),
    },
    Recording {
        key: "trace-pc-unarmed",
        what: "trace_pc with nothing armed",
        goal: Goal::AtMost(1.1),
        aim: Goal::AtMost(1.0),
    },
    Recording {
        key: "guard-unarmed",
        what: "trace_pc_guard with nothing armed",
        goal: Goal::AtMost(1.1),
        aim: Goal::AtMost(1.0),
    },
    // The limit is the same record in a run that does not accumulate coverage.
    Recording {
        key: "cover-pc",
        what: "PC record, coverage accumulated",
        goal: Goal::AtMost(1.2),
        aim: Goal::AtMost(1.1),
    },
    Recording {
        key: "unique-seen",
        what: "point that KCOV_UNIQUE_ENABLE suppresses",
        goal: Goal::AtMost(1.75),
        aim: Goal::AtMost(1.3),
    },
    // The limit is the same append in C.
    Recording {
        key: "shared-pc",
        what: "PC record, two threads in one area",
        goal: Goal::AtMost(1.2),
        aim: Goal::AtMost(1.05),
    },
];
