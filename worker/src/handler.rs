//! What users write: a [`Handler`] plays the kernel for some calls, or for the devices that it brings. For one call, or a
//! device without state of its open files, a closure will do: [`call`], [`device`].
//!
//! ```
//! use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
//! use kcov_worker::{Errno, kcov_edge};
//!
//! /// A device that adds up: request 0x7001 adds its argument, 0x7002 stores the sum where the argument points to.
//! struct Adder;
//!
//! impl Handler for Adder {
//!     fn name(&self) -> &str {
//!         "adder"
//!     }
//!     fn claims(&self) -> Vec<Claim> {
//!         vec![Claim::device("/dev/adder", 0x7001..=0x7002)]
//!     }
//!     fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
//!         Ok(Box::new(Sum(0)))
//!     }
//! }
//!
//! struct Sum(u64);
//!
//! impl OpenFile for Sum {
//!     fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
//!         match request {
//!             0x7001 => {
//!                 kcov_edge!();
//!                 self.0 = self.0.wrapping_add(arg);
//!                 Answer::Value(0)
//!             }
//!             _ => caller.write(arg, &self.0.to_ne_bytes()).into(),
//!         }
//!     }
//! }
//!
//! use kcov_worker::harness::Harness;
//! let mut tenant = Harness::new(Adder)?;
//! let file = tenant.open("/dev/adder", 0)?;
//! tenant.ioctl(file, 0x7001, 40);
//! tenant.ioctl(file, 0x7001, 2);
//! let sum = tenant.map(8);
//! assert_eq!(tenant.ioctl(file, 0x7002, sum).answer, Answer::Value(0));
//! assert_eq!(tenant.memory(sum, 8), 42_u64.to_ne_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a handler may count on
//! - One call at a time, in one thread; the caller waits meanwhile, at most for the deadline of the run.
//! - A call that no handler answers within the deadline, or in which the worker dies, returns `EIO`; a fresh worker is
//!   forked from the state in which the program was when its handlers were loaded. Open files of devices are lost with
//!   the worker: their requests return `EIO` until they are closed and opened again. Calls of a handler that is
//!   [idempotent](Handler::idempotent) have a second chance.
//! - What the caller says is hostile. The worker itself can do little: no file, no network, no process (see
//!   [`jail`](crate::jail)).
//!
//! # What is covered
//! While a handler has a call, all that it records ([`record`](crate::record), or compiled-in instrumentation) goes to
//! the area that the calling thread has enabled, and nowhere if it has none.

mod closures;

pub use closures::{call, device};

use crate::call::Call;
use kcov_proto::Errno;
use kcov_proto::claims::{CallClaim, Condition, DeviceClaim};
use std::fmt;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

pub use crate::caller::Caller;
pub use kcov_proto::claims;

/// What a handler wants to handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A system call, if its arguments meet the conditions.
    Call(CallClaim),
    /// A device.
    Device(DeviceClaim),
}

impl Claim {
    /// Every call of this name. 32-bit programs have names of their own for some (`stat64`).
    #[must_use]
    pub fn call(name: &str) -> Self {
        Claim::Call(CallClaim { call: name.to_owned(), when: Vec::new() })
    }

    /// Calls of this name whose arguments meet all conditions; one for an argument at most. Calls that do not are none
    /// of the handler's and, unless something else wants them, cost nothing.
    #[must_use]
    pub fn call_if(name: &str, conditions: impl IntoIterator<Item = Condition>) -> Self {
        Claim::Call(CallClaim { call: name.to_owned(), when: conditions.into_iter().collect() })
    }

    /// A device at `/dev/NAME` or `/dev/DIRECTORY/NAME` of the tenant alone, and the `ioctl` requests that it answers;
    /// the tenant's other requests on it return `ENOTTY`, as the kernel says of a file that knows none.
    #[must_use]
    pub fn device(path: &str, requests: RangeInclusive<u32>) -> Self {
        let (first, last) = requests.into_inner();
        Claim::Device(DeviceClaim { path: path.to_owned(), first, last })
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Answer {
    /// It returns this value. A value from -4095 to -1 is an error to the caller.
    Value(i64),
    /// It fails with this error.
    Fail(Errno),
    /// It returns the number of a new descriptor, which refers to this file: a memfd, a pipe or an eventfd, which are
    /// the files that a worker can make.
    Descriptor {
        /// The file.
        file: OwnedFd,
        /// Whether an `execve` closes the caller's descriptor.
        close_on_exec: bool,
    },
    /// The next handler that claims it has it, or the kernel runs it: not this handler's business, for this reason.
    /// Each reason is logged once. Arguments in memory may change before the kernel reads them: no check of theirs
    /// holds.
    Continue {
        /// Why, for the log.
        reason: &'static str,
    },
}

impl PartialEq for Answer {
    /// Descriptors are equal if they are the same number.
    fn eq(&self, other: &Self) -> bool {
        use std::os::fd::AsRawFd;
        match (self, other) {
            (Answer::Value(a), Answer::Value(b)) => a == b,
            (Answer::Fail(a), Answer::Fail(b)) => a == b,
            (Answer::Continue { reason: a }, Answer::Continue { reason: b }) => a == b,
            (
                Answer::Descriptor { file: a, close_on_exec: c },
                Answer::Descriptor { file: b, close_on_exec: d },
            ) => a.as_raw_fd() == b.as_raw_fd() && c == d,
            _ => false,
        }
    }
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Answer::Fail(errno)
    }
}

/// 0, or the error.
impl From<Result<(), Errno>> for Answer {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_or_else(Answer::Fail, |()| Answer::Value(0))
    }
}

/// The value, or the error.
impl From<Result<i64, Errno>> for Answer {
    fn from(result: Result<i64, Errno>) -> Self {
        result.map_or_else(Answer::Fail, Answer::Value)
    }
}

/// An open of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest<'a> {
    /// Path of the device, as it was claimed.
    pub path: &'a str,
    /// Open flags of the caller.
    pub flags: u32,
}

/// Code that plays the kernel.
pub trait Handler {
    /// Its name, for messages and logs: letters, digits and `-_.+:@,`.
    fn name(&self) -> &str;

    /// What it wants; asked once, before the tenant starts.
    fn claims(&self) -> Vec<Claim>;

    /// Whether a call that it claimed may be handled twice; asked once, before the tenant starts.
    ///
    /// If a worker dies of such a call in the first half of the deadline, and has written nothing to the caller's
    /// memory, a fresh worker handles it from the beginning instead of failing it with `EIO`: once, within the same
    /// deadline. What the first attempt recorded stays in the caller's area. A call that does not come to an end is not
    /// repeated, nor are a device's requests: the state of its files dies with the worker. Where several handlers want
    /// a call, all of them have to agree.
    fn idempotent(&self) -> bool {
        false
    }

    /// Handles a call that it claimed.
    fn call(&mut self, _: &Call, _: &mut Caller<'_>) -> Answer {
        Answer::Continue { reason: "the handler does not say what it does with calls" }
    }

    /// Opens a device that it claimed. What it returns lives until the last descriptor of the file is closed, and is
    /// dropped then.
    ///
    /// # Errors
    /// What the caller's open fails with.
    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Err(Errno::ENODEV)
    }
}

/// An open file of a device. Descriptors that were duplicated, inherited or sent share one.
pub trait OpenFile {
    /// Handles a request of the range that the device claimed.
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer;
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({})", self.name())
    }
}
