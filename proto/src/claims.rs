//! What the handlers of a worker program claim: the system calls and devices that they handle.
//!
//! A worker program sends its claims once, before its tenant starts. The broker builds the tenant's seccomp
//! filter from them, and creates the device files. The program has loaded third-party code by then, so the
//! claims are allegations, which [`Claims::check`] checks.

use serde::{Deserialize, Serialize};

/// Most handlers of one worker program.
pub const MAX_HANDLERS: usize = 64;
/// Most claimed calls, of all handlers together.
pub const MAX_CALLS: usize = 256;
/// Most devices, of all handlers together.
pub const MAX_DEVICES: usize = 32;
/// Longest name of a handler, a call or a path component of a device, in bytes.
pub const MAX_NAME: usize = 64;
/// Number of arguments of a system call.
const ARGUMENTS: u8 = 6;

/// A condition on one argument of a call: its bits under `mask` equal `value`.
///
/// A seccomp filter sees registers only, not memory. For most arguments the kernel uses only the low 32 bits
/// (a descriptor, an `ioctl` request), and a caller may set the others to anything: use [`low`](Self::low)
/// for those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Index of the argument, from 0 to 5.
    pub argument: u8,
    /// Bits to compare.
    pub mask: u64,
    /// Required value of these bits.
    pub value: u64,
}

impl Condition {
    /// The whole register equals `value`.
    #[must_use]
    pub const fn is(argument: u8, value: u64) -> Self {
        Condition { argument, mask: u64::MAX, value }
    }

    /// The low 32 bits equal `value`, for arguments that the kernel takes as `int`.
    #[must_use]
    pub const fn low(argument: u8, value: u32) -> Self {
        Condition { argument, mask: u32::MAX as u64, value: value as u64 }
    }

    /// The bits under `mask` equal `value`.
    #[must_use]
    pub const fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Condition { argument, mask, value }
    }

    /// Returns whether these arguments meet the condition.
    #[must_use]
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        arguments.get(usize::from(self.argument)).is_some_and(|register| register & self.mask == self.value)
    }
}

/// A system call that a handler claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallClaim {
    /// Name as in `syscalls(2)`. Some calls of 32-bit programs have other names (`stat64`).
    pub call: String,
    /// Conditions that must all hold; an empty list claims every such call. At most one for each argument.
    pub when: Vec<Condition>,
}

/// A device that a handler implements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceClaim {
    /// Path of the device file: `/dev/NAME` or `/dev/DIRECTORY/NAME`.
    pub path: String,
    /// First `ioctl` request that it answers.
    pub first: u32,
    /// Last `ioctl` request that it answers.
    pub last: u32,
}

/// A block of requests that a filter can test with one masked comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBlock {
    /// Bits that all requests of the block share.
    pub mask: u32,
    /// Value of these bits.
    pub value: u32,
}

impl DeviceClaim {
    /// Returns whether the device answers this request.
    #[must_use]
    pub fn takes(&self, request: u32) -> bool {
        (self.first..=self.last).contains(&request)
    }

    /// Splits the requests into the fewest aligned blocks, in ascending order: at most 62.
    #[must_use]
    pub fn blocks(&self) -> Vec<RequestBlock> {
        let mut blocks = Vec::new();
        let (mut next, end) = (u64::from(self.first), u64::from(self.last) + 1);
        while next < end {
            let aligned = if next == 0 { 1 << 32 } else { 1 << next.trailing_zeros() };
            let fits = 1_u64 << (end - next).ilog2();
            let size = fits.min(aligned);
            let mask = !(size - 1) as u32;
            blocks.push(RequestBlock { mask, value: next as u32 });
            next += size;
        }
        blocks
    }

    /// The path components below `/dev`: an optional directory, and the file. `None` if the path is invalid.
    #[must_use]
    pub fn names(&self) -> Option<(Option<&str>, &str)> {
        let rest = self.path.strip_prefix("/dev/")?;
        match rest.split_once('/') {
            None => is_name(rest).then_some((None, rest)),
            Some((directory, name)) => {
                (is_name(directory) && is_name(name)).then_some((Some(directory), name))
            }
        }
    }
}

/// Returns whether `name` is safe as a file name and in messages.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:@,".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.chars().all(plain)
}

/// The claims of one handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandlerClaims {
    /// Name of the handler.
    pub name: String,
    /// System calls that it claims.
    pub calls: Vec<CallClaim>,
    /// Devices that it implements.
    pub devices: Vec<DeviceClaim>,
    /// Whether a claimed call may be handled again from the start if its first worker crashes.
    pub idempotent: bool,
}

/// The claims of all handlers of a worker program, in the order in which handlers are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claims {
    /// Claims of each handler.
    pub handlers: Vec<HandlerClaims>,
}

/// Why claims are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ClaimError {
    /// There are more items than allowed.
    #[error("too many {what}: {count}, at most {most} are allowed")]
    Many {
        /// Kind of item.
        what: String,
        /// Number of items.
        count: usize,
        /// Limit.
        most: usize,
    },
    /// A handler has an invalid name.
    #[error("invalid handler name `{0}`: use 1 to {MAX_NAME} letters, digits and -_.+:@,")]
    Name(String),
    /// A call has an invalid or unknown name.
    #[error("handler {handler}: there is no system call `{call}`")]
    Call {
        /// Name of the handler.
        handler: String,
        /// Name of the call as claimed.
        call: String,
    },
    /// A condition can never hold, or cannot be expressed in a filter.
    #[error("handler {handler}, call {call}: {reason}")]
    Condition {
        /// Name of the handler.
        handler: String,
        /// Name of the call.
        call: String,
        /// What is wrong with the condition.
        reason: String,
    },
    /// The path of a device is not allowed.
    #[error("handler {handler}: invalid device path `{path}`: use /dev/NAME or /dev/DIRECTORY/NAME")]
    Path {
        /// Name of the handler.
        handler: String,
        /// Path as claimed.
        path: String,
    },
    /// Another device, or the KCOV device, has the path.
    #[error("handler {handler}: device path `{path}` is already taken")]
    Taken {
        /// Name of the handler.
        handler: String,
        /// Path as claimed.
        path: String,
    },
    /// The range of requests is empty.
    #[error("handler {handler}, device {path}: the range of requests {first:#x} to {last:#x} is empty")]
    Requests {
        /// Name of the handler.
        handler: String,
        /// Path of the device.
        path: String,
        /// First request.
        first: u32,
        /// Last request.
        last: u32,
    },
}

fn bounded(what: &str, count: usize, most: usize) -> Result<(), ClaimError> {
    if count <= most { Ok(()) } else { Err(ClaimError::Many { what: what.to_owned(), count, most }) }
}

impl Claims {
    /// Returns whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls().next().is_none() && self.devices().next().is_none()
    }

    /// The claimed calls of all handlers.
    pub fn calls(&self) -> impl Iterator<Item = &CallClaim> {
        self.handlers.iter().flat_map(|handler| &handler.calls)
    }

    /// The devices of all handlers. The number of a device in messages is its position here.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceClaim> {
        self.handlers.iter().flat_map(|handler| &handler.devices)
    }

    /// Checks the claims against limits and syntax. Does not check that each call exists: that is done when
    /// the filter is built.
    ///
    /// # Errors
    /// [`ClaimError`], which names the handler.
    pub fn check(&self) -> Result<(), ClaimError> {
        bounded("handlers", self.handlers.len(), MAX_HANDLERS)?;
        bounded("claimed calls", self.calls().count(), MAX_CALLS)?;
        bounded("devices", self.devices().count(), MAX_DEVICES)?;
        let mut taken = vec!["/dev/kcov"];
        for HandlerClaims { name, calls, devices, .. } in &self.handlers {
            if !is_name(name) {
                return Err(ClaimError::Name(name.chars().take(MAX_NAME).collect()));
            }
            calls.iter().try_for_each(|call| check_call(name, call))?;
            for device in devices {
                check_device(name, device, &taken)?;
                taken.push(&device.path);
            }
        }
        Ok(())
    }
}

fn check_call(handler: &str, claim: &CallClaim) -> Result<(), ClaimError> {
    let handler = handler.to_owned();
    let is_call = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if claim.call.is_empty() || claim.call.len() > MAX_NAME || !claim.call.chars().all(is_call) {
        let call = claim.call.chars().take(MAX_NAME).collect();
        return Err(ClaimError::Call { handler, call });
    }
    let wrong = |reason: String| ClaimError::Condition { handler, call: claim.call.clone(), reason };
    let mut seen = 0_u8;
    for Condition { argument, mask, value } in &claim.when {
        if *argument >= ARGUMENTS {
            return Err(wrong(format!("argument {argument}: arguments are numbered 0 to 5")));
        }
        if seen >> argument & 1 == 1 {
            return Err(wrong(format!("two conditions on argument {argument}; make it two claims")));
        }
        if value & !mask != 0 {
            return Err(wrong(format!(
                "{value:#x} has bits outside the mask {mask:#x}, so the condition never holds"
            )));
        }
        seen |= 1 << argument;
    }
    Ok(())
}

fn check_device(handler: &str, claim: &DeviceClaim, taken: &[&str]) -> Result<(), ClaimError> {
    let (handler, path) = (handler.to_owned(), claim.path.chars().take(2 * MAX_NAME + 6).collect::<String>());
    let DeviceClaim { first, last, .. } = *claim;
    match claim.names() {
        None => Err(ClaimError::Path { handler, path }),
        // The path of a device cannot be a directory of another device.
        Some(_) if taken.iter().any(|other| is_below(other, &path) || is_below(&path, other)) => {
            Err(ClaimError::Taken { handler, path })
        }
        Some(_) if first > last => Err(ClaimError::Requests { handler, path, first, last }),
        Some(_) => Ok(()),
    }
}

/// Returns whether `path` is `place` or below it.
fn is_below(place: &str, path: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
