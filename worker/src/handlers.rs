//! The user's handlers: which of them claims a call, and the open files of their devices.
//!
//! This file asks handlers and returns their answers; the [`harness`](crate::harness) and
//! [`replay`](crate::replay) use it without a tenant. `service` connects it to a worker: it journals what
//! handlers do, and turns their answers into the result of a call.

mod service;

use crate::call::{Abi, Call};
use crate::call_table::CallTable;
use crate::caller::{Caller, CallerMemory};
use crate::handler::{Answer, Claim, Handler, OpenFile, OpenRequest};
use kcov_proto::Errno;
use kcov_proto::claims::{ClaimError, Claims, Condition, DeviceClaim, HandlerClaims};
use kcov_proto::device::ArenaId;
use libseccomp::ScmpSyscall;
use std::collections::{HashMap, HashSet};

/// A handler that claims a call, by its index, and under which conditions.
#[derive(Clone, Debug)]
struct Claimant {
    handler: usize,
    when: Vec<Condition>,
}

/// An open file of a device.
struct DeviceFile {
    device: usize,
    state: Box<dyn OpenFile>,
}

/// The handlers of a worker program.
pub struct Handlers {
    handlers: Vec<Box<dyn Handler>>,
    claims: Claims,
    calls: CallTable<Vec<Claimant>>,
    /// The numbers of `ioctl`.
    ioctls: CallTable<()>,
    /// Devices by number, each with the index of its handler.
    devices: Vec<(usize, DeviceClaim)>,
    files: HashMap<ArenaId, DeviceFile>,
    /// Reasons to continue that were logged, with the index of the handler.
    logged_reasons: HashSet<(usize, &'static str)>,
    /// For each handler, whether it was checked that it records coverage.
    checked_recording: Vec<bool>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

/// The numbers of a call in all system call tables of this machine.
fn numbers(call: &str) -> impl Iterator<Item = (Abi, i32)> {
    Abi::of_machine().filter_map(move |abi| {
        let number = ScmpSyscall::from_name_by_arch(call, abi.arch()?).ok()?;
        // libseccomp uses negative numbers for calls that a table does not have.
        let number = number.as_raw_syscall();
        (number >= 0).then_some((abi, number))
    })
}

impl Handlers {
    /// Collects and checks the claims of these handlers.
    ///
    /// # Errors
    /// [`ClaimError`], which names the handler.
    pub fn new(handlers: Vec<Box<dyn Handler>>) -> Result<Self, ClaimError> {
        let claims =
            Claims { handlers: handlers.iter().map(|handler| claims_of(handler.as_ref())).collect() };
        claims.check()?;
        let mut calls = CallTable::<Vec<Claimant>>::default();
        let mut devices = Vec::new();
        for (handler, claimed) in claims.handlers.iter().enumerate() {
            for claim in &claimed.calls {
                for (abi, number) in numbers(&claim.call) {
                    let Some(entry) = calls.entry(abi, number) else { continue };
                    entry.get_or_insert_default().push(Claimant { handler, when: claim.when.clone() });
                }
            }
            devices.extend(claimed.devices.iter().map(|device| (handler, device.clone())));
        }
        let mut ioctls = CallTable::default();
        for (abi, number) in numbers("ioctl") {
            ioctls.entry(abi, number).map(|entry| entry.insert(()));
        }
        let (files, logged_reasons) = (HashMap::new(), HashSet::new());
        let checked_recording = vec![false; handlers.len()];
        Ok(Handlers { handlers, claims, calls, ioctls, devices, files, logged_reasons, checked_recording })
    }

    /// Checks that each claimed call exists. The broker checks this when it builds the filter; the harness,
    /// which builds none, calls this.
    ///
    /// # Errors
    /// [`ClaimError::Call`].
    pub(crate) fn check_names(&self) -> Result<(), ClaimError> {
        let calls = self
            .claims
            .handlers
            .iter()
            .flat_map(|claimed| claimed.calls.iter().map(move |claim| (&claimed.name, &claim.call)));
        for (handler, call) in calls {
            if numbers(call).next().is_none() {
                return Err(ClaimError::Call { handler: handler.clone(), call: call.clone() });
            }
        }
        Ok(())
    }

    /// The claims of all handlers.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Returns whether any handler has a device.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// Returns whether the call may be handled twice: every handler that claims it is idempotent.
    fn is_repeatable(&self, call: &Call) -> bool {
        self.claimants(call).all(|handler| self.claims.handlers[handler].idempotent)
    }

    /// The number of the device at `path`.
    #[must_use]
    pub fn device_at(&self, path: &str) -> Option<u16> {
        let device = self.devices.iter().position(|(_, claim)| claim.path == path)?;
        u16::try_from(device).ok()
    }

    fn is_ioctl(&self, call: &Call) -> bool {
        self.ioctls.get(call.abi, call.number).is_some()
    }

    /// Returns whether the call is an `ioctl` request that some device answers.
    fn is_device_request(&self, call: &Call) -> bool {
        self.is_ioctl(call) && self.devices.iter().any(|(_, claim)| claim.takes(call.args[1] as u32))
    }

    /// The indices of the handlers that claim the call, in order.
    fn claimants(&self, call: &Call) -> impl Iterator<Item = usize> {
        let claims = self.calls.get(call.abi, call.number).map(Vec::as_slice).unwrap_or_default();
        let holds = |claimant: &&Claimant| claimant.when.iter().all(|condition| condition.holds(&call.args));
        claims.iter().filter(holds).map(|claimant| claimant.handler)
    }

    /// Asks the handlers that claim a call, in order, until one does not answer [`Answer::Continue`]. Returns
    /// the last answer, with the index of its handler.
    pub(crate) fn answer(&mut self, call: &Call, memory: &mut dyn CallerMemory) -> Option<(usize, Answer)> {
        let mut last = None;
        let mut claimants: Vec<usize> = self.claimants(call).collect();
        // Two claims of one handler may both hold.
        claimants.dedup();
        for handler in claimants {
            let answer = self.handlers[handler].call(call, &mut Caller::new(call, memory));
            let continues = matches!(answer, Answer::Continue { .. });
            last = Some((handler, answer));
            if !continues {
                break;
            }
        }
        last
    }

    /// Lets the handler of a device open it.
    pub(crate) fn open_device(
        &mut self,
        device: u16,
        flags: u32,
        file: ArenaId,
        call: &Call,
        memory: &mut dyn CallerMemory,
    ) -> Result<(), Errno> {
        let device = usize::from(device);
        let (handler, claim) = self.devices.get(device).ok_or(Errno::ENODEV)?;
        let request = OpenRequest { path: &claim.path, flags };
        let state = self.handlers[*handler].open(&request, &mut Caller::new(call, memory))?;
        self.files.insert(file, DeviceFile { device, state });
        Ok(())
    }

    /// Passes an `ioctl` request to an open file. `None` if its device does not answer the request.
    pub(crate) fn ioctl(
        &mut self,
        (id, device): (ArenaId, u16),
        call: &Call,
        memory: &mut dyn CallerMemory,
    ) -> Option<(usize, Answer)> {
        let (request, arg) = (call.args[1] as u32, call.args[2]);
        let (handler, claim) = self.devices.get(usize::from(device))?;
        if !claim.takes(request) {
            return None;
        }
        let answer = match self.files.get_mut(&id) {
            Some(file) if file.device == usize::from(device) => {
                file.state.ioctl(request, arg, &mut Caller::new(call, memory))
            }
            // Opened in an earlier worker, which has died.
            _ => Answer::Fail(Errno::EIO),
        };
        Some((*handler, answer))
    }

    /// Drops the state of a file.
    pub(crate) fn close(&mut self, file: ArenaId) {
        self.files.remove(&file);
    }
}

fn claims_of(handler: &dyn Handler) -> HandlerClaims {
    let mut claims = HandlerClaims {
        name: handler.name().to_owned(),
        idempotent: handler.idempotent(),
        ..HandlerClaims::default()
    };
    for claim in handler.claims() {
        match claim {
            Claim::Call(call) => claims.calls.push(call),
            Claim::Device(device) => claims.devices.push(device),
        }
    }
    claims
}

#[cfg(test)]
mod tests;
