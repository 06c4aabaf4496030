//! What the handlers of a worker program want to handle: calls, and devices.
//!
//! A worker program says it once, before its tenant starts; the broker makes the tenant's filter from it, and files
//! for the devices. The program has loaded other people's code by then, so its word is an allegation: [`Claims::check`]
//! bounds it.

use serde::{Deserialize, Serialize};

/// Most handlers of one worker program.
pub const MAX_HANDLERS: usize = 64;
/// Most claims of calls, of all handlers together.
pub const MAX_CALLS: usize = 256;
/// Most devices, of all handlers together.
pub const MAX_DEVICES: usize = 32;
/// Most bytes of a name: of a handler, a call, a device.
pub const MAX_NAME: usize = 64;
/// Arguments of a system call.
const ARGUMENTS: u8 = 6;

/// Condition on one argument of a call: its bits under `mask` are `value`.
///
/// A filter sees registers and no memory. The kernel looks at the low 32 bits of most arguments; of a descriptor or a
/// request, a caller may have set any of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// Bits that count.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

impl Condition {
    /// The whole register is `value`.
    #[must_use]
    pub const fn is(argument: u8, value: u64) -> Self {
        Condition { argument, mask: u64::MAX, value }
    }

    /// The low 32 bits are `value`, as for arguments that the kernel takes as `int`.
    #[must_use]
    pub const fn low(argument: u8, value: u32) -> Self {
        Condition { argument, mask: u32::MAX as u64, value: value as u64 }
    }

    /// The bits under `mask` are `value`.
    #[must_use]
    pub const fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Condition { argument, mask, value }
    }

    /// Whether these arguments meet it.
    #[must_use]
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        arguments.get(usize::from(self.argument)).is_some_and(|register| register & self.mask == self.value)
    }
}

/// A call that a handler wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallClaim {
    /// Its name, as in `syscalls(2)`; 32-bit programs have names of their own (`stat64`).
    pub call: String,
    /// Conditions, all of which hold; none claims every such call. One for an argument at most.
    pub when: Vec<Condition>,
}

/// A device that a handler plays.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceClaim {
    /// Where it is: `/dev/NAME` or `/dev/DIRECTORY/NAME`.
    pub path: String,
    /// First request of `ioctl` that it answers.
    pub first: u32,
    /// Last one.
    pub last: u32,
}

/// A block of requests that one comparison tells from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bits that all of them share.
    pub mask: u32,
    /// What those bits are.
    pub value: u32,
}

impl DeviceClaim {
    /// Whether the device answers this request.
    #[must_use]
    pub fn takes(&self, request: u32) -> bool {
        (self.first..=self.last).contains(&request)
    }

    /// The requests as the fewest aligned blocks, at most 62 of them; in order.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let (mut next, end) = (u64::from(self.first), u64::from(self.last) + 1);
        while next < end {
            let aligned = if next == 0 { 1 << 32 } else { 1 << next.trailing_zeros() };
            let fits = 1_u64 << (end - next).ilog2();
            let size = fits.min(aligned);
            let mask = !(size - 1) as u32;
            blocks.push(Block { mask, value: next as u32 });
            next += size;
        }
        blocks
    }

    /// The names below `/dev`: at most one directory, and the file.
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

/// Whether it can be the name of a file that messages and listings show as it is.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:@,".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.chars().all(plain)
}

/// What one handler wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandlerClaims {
    /// Its name.
    pub name: String,
    /// Calls.
    pub calls: Vec<CallClaim>,
    /// Devices.
    pub devices: Vec<DeviceClaim>,
    /// Whether a call that it claims may be handled once more from its beginning, if its first worker dies of it.
    pub idempotent: bool,
}

/// What all handlers of a worker program want, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claims {
    /// One for a handler.
    pub handlers: Vec<HandlerClaims>,
}

/// Why claims are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ClaimError {
    /// More than one program may have.
    #[error("{count} {what}: at most {most}")]
    Many {
        /// Of what.
        what: String,
        /// How many.
        count: usize,
        /// How many may be.
        most: usize,
    },
    /// A handler without a proper name.
    #[error("`{0}` names no handler: 1 to {MAX_NAME} letters, digits and -_.+:@,")]
    Name(String),
    /// A call without a proper name.
    #[error("handler {handler}: `{call}` names no call")]
    Call {
        /// Whose.
        handler: String,
        /// As given.
        call: String,
    },
    /// A condition that no call can meet, or that a filter cannot ask.
    #[error("handler {handler}, call {call}: {reason}")]
    Condition {
        /// Whose.
        handler: String,
        /// Of which call.
        call: String,
        /// What is wrong.
        reason: String,
    },
    /// A device where none can be.
    #[error("handler {handler}: a device at `{path}`: it must be at /dev/NAME or /dev/DIRECTORY/NAME")]
    Path {
        /// Whose.
        handler: String,
        /// As given.
        path: String,
    },
    /// Two devices at one place, or one where the KCOV device is.
    #[error("handler {handler}: a device at `{path}`, where there is one already")]
    Taken {
        /// Whose.
        handler: String,
        /// As given.
        path: String,
    },
    /// Requests from last to first.
    #[error("handler {handler}, device {path}: requests from {first:#x} to {last:#x} are none")]
    Requests {
        /// Whose.
        handler: String,
        /// Which device.
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
    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls().next().is_none() && self.devices().next().is_none()
    }

    /// Claims of calls, of all handlers.
    pub fn calls(&self) -> impl Iterator<Item = &CallClaim> {
        self.handlers.iter().flat_map(|handler| &handler.calls)
    }

    /// Devices of all handlers; a device's number is its place here.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceClaim> {
        self.handlers.iter().flat_map(|handler| &handler.devices)
    }

    /// Holds them against the bounds. Whether a call of that name exists is for who makes the filter to say.
    ///
    /// # Errors
    /// [`ClaimError`], which names the handler.
    pub fn check(&self) -> Result<(), ClaimError> {
        bounded("handlers", self.handlers.len(), MAX_HANDLERS)?;
        bounded("claims of calls", self.calls().count(), MAX_CALLS)?;
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
            return Err(wrong(format!("argument {argument}: calls have 0 to 5")));
        }
        if seen >> argument & 1 == 1 {
            return Err(wrong(format!("two conditions on argument {argument}; make two claims of it")));
        }
        if value & !mask != 0 {
            return Err(wrong(format!("{value:#x} has bits outside the mask {mask:#x}: never met")));
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
        // A directory of one device cannot be another one.
        Some(_) if taken.iter().any(|other| is_below(other, &path) || is_below(&path, other)) => {
            Err(ClaimError::Taken { handler, path })
        }
        Some(_) if first > last => Err(ClaimError::Requests { handler, path, first, last }),
        Some(_) => Ok(()),
    }
}

/// Whether `path` is `place` or below it.
fn is_below(place: &str, path: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
