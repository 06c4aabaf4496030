//! The interface for users: a [`Handler`] plays the kernel for some system calls, or for devices that it
//! provides. For a single call, or a device whose open files have no state, a closure suffices: see [`call`]
//! and [`device`].
//!
//! ```
//! use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
//! use kcov_worker::{Errno, kcov_edge};
//!
//! /// Request 0x7001 adds its argument to a sum; 0x7002 stores the sum at the address in its argument.
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
//! # What a handler can rely on
//! - It gets one call at a time, in one thread. The caller waits meanwhile, up to the deadline of the run.
//! - If the deadline passes or the worker crashes, the call returns `EIO`. A new worker is forked with the
//!   state that the program had when its handlers were loaded. Open files of devices are lost with the old
//!   worker: requests on them return `EIO` until they are closed and opened again. Calls of an
//!   [idempotent](Handler::idempotent) handler are tried once more.
//! - Input from the caller is untrusted. The worker itself has few rights: no files, no network, no new
//!   processes (see [`jail`](crate::jail)).
//!
//! # What is covered
//! While a handler has a call, everything that it records ([`record`](crate::record), or compiled-in
//! instrumentation) goes to the KCOV area that the calling thread has enabled. If the thread has none,
//! nothing is recorded.
//!
//! Work that the handler does later, or for no call, is recorded in [remote sections](crate::remote). What it
//! does when an open file is dropped is recorded for the thread whose close was the last one, if that close
//! is traced.

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

/// Something that a handler handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A system call, if its arguments meet the conditions.
    Call(CallClaim),
    /// A device.
    Device(DeviceClaim),
}

impl Claim {
    /// Claims every call of this name. Some calls of 32-bit programs have other names (`stat64`).
    #[must_use]
    pub fn call(name: &str) -> Self {
        Claim::Call(CallClaim { call: name.to_owned(), when: Vec::new() })
    }

    /// Claims the calls of this name whose arguments meet all conditions, at most one for each argument.
    /// Other calls of this name are not trapped for this handler, and cost nothing unless something else
    /// needs them.
    #[must_use]
    pub fn call_if(name: &str, conditions: impl IntoIterator<Item = Condition>) -> Self {
        Claim::Call(CallClaim { call: name.to_owned(), when: conditions.into_iter().collect() })
    }

    /// Claims a device at `/dev/NAME` or `/dev/DIRECTORY/NAME`, which only this tenant sees, and the `ioctl`
    /// requests that it answers. Other requests on it return `ENOTTY`, as for a file without such a request.
    #[must_use]
    pub fn device(path: &str, requests: RangeInclusive<u32>) -> Self {
        let (first, last) = requests.into_inner();
        Claim::Device(DeviceClaim { path: path.to_owned(), first, last })
    }
}

/// The result of a call.
#[derive(Debug)]
pub enum Answer {
    /// The call returns this value. The caller sees -4095 to -1 as an errno.
    Value(i64),
    /// The call fails with this errno.
    Fail(Errno),
    /// The call returns a new descriptor of this file. A worker can create memfds, pipes and eventfds.
    Descriptor {
        /// The file.
        file: OwnedFd,
        /// Whether the caller's descriptor is closed on `execve`.
        close_on_exec: bool,
    },
    /// The handler does not handle this call: the next handler that claims it is asked, or the kernel runs
    /// it. Each reason is logged once. Do not rely on checks of arguments in memory: the caller can change
    /// them before the kernel reads them.
    Continue {
        /// Reason, for the log.
        reason: &'static str,
    },
}

impl PartialEq for Answer {
    /// Descriptors are equal if their numbers are.
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

/// `Ok` becomes the value 0.
impl From<Result<(), Errno>> for Answer {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_or_else(Answer::Fail, |()| Answer::Value(0))
    }
}

/// `Ok` becomes the value.
impl From<Result<i64, Errno>> for Answer {
    fn from(result: Result<i64, Errno>) -> Self {
        result.map_or_else(Answer::Fail, Answer::Value)
    }
}

/// An open of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest<'a> {
    /// Path of the device, as claimed.
    pub path: &'a str,
    /// Open flags of the caller.
    pub flags: u32,
}

/// Code that plays the kernel.
pub trait Handler {
    /// Name for messages and logs: letters, digits and `-_.+:@,`.
    fn name(&self) -> &str;

    /// Returns what the handler claims. Called once, before the tenant starts.
    fn claims(&self) -> Vec<Claim>;

    /// Returns whether a claimed call may be handled twice. Called once, before the tenant starts.
    ///
    /// If a worker crashes in the first half of the deadline while it handles such a call, and has not
    /// written to the caller's memory, a new worker handles the call again from the start instead of failing
    /// it with `EIO`. This happens at most once, within the same deadline. Records of the first attempt stay
    /// in the caller's area. A call that hangs is not repeated. Requests on devices are not repeated either,
    /// because the state of their files is lost with the worker. If several handlers claim a call, all of
    /// them must be idempotent.
    fn idempotent(&self) -> bool {
        false
    }

    /// Handles a call that was claimed. The default lets the call continue.
    fn call(&mut self, _: &Call, _: &mut Caller<'_>) -> Answer {
        Answer::Continue { reason: "the handler does not implement call()" }
    }

    /// Opens a device that was claimed. The returned file is dropped when its last descriptor is closed.
    ///
    /// # Errors
    /// The errno of the caller's open.
    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Err(Errno::ENODEV)
    }
}

/// An open file of a device. Duplicated, inherited and passed descriptors refer to the same one.
pub trait OpenFile {
    /// Handles an `ioctl` request in the range that the device claimed.
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer;
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({})", self.name())
    }
}
