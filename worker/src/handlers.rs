//! The user's handlers, as one service: which of them a call is for, and their open files.

use crate::assist::AssistError;
use crate::call::{Abi, Call};
use crate::call_table::CallTable;
use crate::caller::{Caller, Port};
use crate::context::Context;
use crate::handler::{Answer, Claim, Handler, OpenFile, OpenRequest};
use crate::record::{self, Collision};
use crate::service::{Opening, Outcome, Service};
use kcov_proto::claims::{ClaimError, Claims, Condition, DeviceClaim, HandlerClaims};
use kcov_proto::device::ArenaId;
use kcov_proto::journal::Event;
use kcov_proto::message::AssistKind;
use kcov_proto::slot::Kind;
use kcov_proto::{Errno, abi};
use libseccomp::ScmpSyscall;
use std::collections::{HashMap, HashSet};

/// Reasons to let a call go on that are logged; more than that are not reasons but data.
const MOST_REASONS: usize = 256;

/// A claim of a call, by who made it.
#[derive(Clone, Debug)]
struct Wanted {
    handler: usize,
    when: Vec<Condition>,
}

/// An open file of a device.
struct File {
    device: usize,
    state: Box<dyn OpenFile>,
}

/// The handlers of a worker program.
pub struct Handlers {
    handlers: Vec<Box<dyn Handler>>,
    claims: Claims,
    calls: CallTable<Vec<Wanted>>,
    /// Which calls are `ioctl`.
    ioctls: CallTable<()>,
    /// Devices by their number, each with its handler.
    devices: Vec<(usize, DeviceClaim)>,
    files: HashMap<ArenaId, File>,
    reasons: HashSet<(usize, &'static str)>,
    /// Of each handler, whether it is known to record, or was told of because it does not.
    heard: Vec<bool>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

/// Numbers of a call in all tables of this machine.
fn numbers(call: &str) -> impl Iterator<Item = (Abi, i32)> {
    let known = |abi: Abi| abi == Abi::Native || cfg!(target_arch = "x86_64");
    [Abi::Native, Abi::I386, Abi::X32].into_iter().filter(move |abi| known(*abi)).filter_map(move |abi| {
        let number = ScmpSyscall::from_name_by_arch(call, abi.arch()?).ok()?;
        // A negative number is libseccomp's own, for a call that this table does not have.
        let number = number.as_raw_syscall();
        (number >= 0).then_some((abi, number))
    })
}

impl Handlers {
    /// Asks each handler what it wants.
    ///
    /// # Errors
    /// [`ClaimError`], which names the handler.
    pub fn new(handlers: Vec<Box<dyn Handler>>) -> Result<Self, ClaimError> {
        let claims =
            Claims { handlers: handlers.iter().map(|handler| claims_of(handler.as_ref())).collect() };
        claims.check()?;
        let mut calls = CallTable::<Vec<Wanted>>::default();
        let mut devices = Vec::new();
        for (handler, wanted) in claims.handlers.iter().enumerate() {
            for claim in &wanted.calls {
                for (abi, number) in numbers(&claim.call) {
                    let Some(entry) = calls.entry(abi, number) else { continue };
                    entry.get_or_insert_default().push(Wanted { handler, when: claim.when.clone() });
                }
            }
            devices.extend(wanted.devices.iter().map(|device| (handler, device.clone())));
        }
        let mut ioctls = CallTable::default();
        for (abi, number) in numbers("ioctl") {
            ioctls.entry(abi, number).map(|entry| entry.insert(()));
        }
        let (files, reasons) = (HashMap::new(), HashSet::new());
        let heard = vec![false; handlers.len()];
        Ok(Handlers { handlers, claims, calls, ioctls, devices, files, reasons, heard })
    }

    /// Whether there is a system call of each name that they want, as who makes the filter asks.
    ///
    /// # Errors
    /// [`ClaimError::Call`].
    pub(crate) fn check_names(&self) -> Result<(), ClaimError> {
        let calls = self
            .claims
            .handlers
            .iter()
            .flat_map(|wanted| wanted.calls.iter().map(move |claim| (&wanted.name, &claim.call)));
        for (handler, call) in calls {
            if numbers(call).next().is_none() {
                return Err(ClaimError::Call { handler: handler.clone(), call: call.clone() });
            }
        }
        Ok(())
    }

    /// What they want.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether any of them has a device.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// Whether all handlers that want the call may have it twice.
    fn is_repeatable(&self, call: &Call) -> bool {
        self.wanting(call).all(|handler| self.claims.handlers[handler].idempotent)
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

    /// Whether it is a request that some device answers.
    fn is_for_a_device(&self, call: &Call) -> bool {
        self.is_ioctl(call) && self.devices.iter().any(|(_, claim)| claim.takes(call.args[1] as u32))
    }

    /// The handlers that want the call, in their order.
    fn wanting(&self, call: &Call) -> impl Iterator<Item = usize> {
        let claims = self.calls.get(call.abi, call.number).map(Vec::as_slice).unwrap_or_default();
        let holds = |wanted: &&Wanted| wanted.when.iter().all(|condition| condition.holds(&call.args));
        claims.iter().filter(holds).map(|wanted| wanted.handler)
    }

    /// Asks the handlers that want a call, one after the other. Returns the answer with who gave it; of a call that is
    /// to go on, the last to say so.
    pub(crate) fn answer(&mut self, call: &Call, port: &mut dyn Port) -> Option<(usize, Answer)> {
        let mut last = None;
        let mut wanting: Vec<usize> = self.wanting(call).collect();
        // Two claims of one handler may both hold.
        wanting.dedup();
        for handler in wanting {
            let answer = self.handlers[handler].call(call, &mut Caller::new(call, port));
            let goes_on = matches!(answer, Answer::Continue { .. });
            last = Some((handler, answer));
            if !goes_on {
                break;
            }
        }
        last
    }

    /// Has the handler of a device open it.
    pub(crate) fn open_device(
        &mut self,
        device: u16,
        flags: u32,
        file: ArenaId,
        call: &Call,
        port: &mut dyn Port,
    ) -> Result<(), Errno> {
        let device = usize::from(device);
        let (handler, claim) = self.devices.get(device).ok_or(Errno::ENODEV)?;
        let request = OpenRequest { path: &claim.path, flags };
        let state = self.handlers[*handler].open(&request, &mut Caller::new(call, port))?;
        self.files.insert(file, File { device, state });
        Ok(())
    }

    /// A request on a file: `None` if the device does not answer it.
    pub(crate) fn ioctl(
        &mut self,
        (id, device): (ArenaId, u16),
        call: &Call,
        port: &mut dyn Port,
    ) -> Option<(usize, Answer)> {
        let (request, arg) = (call.args[1] as u32, call.args[2]);
        let (handler, claim) = self.devices.get(usize::from(device))?;
        if !claim.takes(request) {
            return None;
        }
        let answer = match self.files.get_mut(&id) {
            Some(file) if file.device == usize::from(device) => {
                file.state.ioctl(request, arg, &mut Caller::new(call, port))
            }
            // Opened in a worker that has died since.
            _ => Answer::Fail(Errno::EIO),
        };
        Some((*handler, answer))
    }

    /// Drops the state of files.
    pub(crate) fn close(&mut self, files: &[ArenaId]) {
        for file in files {
            self.files.remove(file);
        }
    }

    /// Files that are open.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Turns an answer into what becomes of the call.
    fn settle(
        &mut self,
        call: &Call,
        (handler, answer): (usize, Answer),
        context: &mut Context,
    ) -> Result<Outcome, AssistError> {
        // EIO may be ours, of a file that was lost with its worker.
        if !matches!(answer, Answer::Continue { .. } | Answer::Fail(Errno::EIO)) {
            self.listen(call, handler, context)?;
        }
        match answer {
            Answer::Value(value) => Ok(Outcome::Value(value)),
            Answer::Fail(errno) => Ok(Outcome::Fail(errno)),
            Answer::Descriptor { file, close_on_exec } => context.inject(call, &file, close_on_exec),
            Answer::Continue { reason } => {
                self.log(call, handler, reason, context)?;
                Ok(Outcome::Pass)
            }
        }
    }

    /// Tells of a handler that leaves the first call of a caller who collects without a record: instrumented code leaves
    /// one of any call.
    fn listen(&mut self, call: &Call, handler: usize, context: &mut Context) -> Result<(), AssistError> {
        if self.heard[handler] {
            return Ok(());
        }
        let Some(recorded) = record::has_recorded() else { return Ok(()) };
        self.heard[handler] = true;
        if recorded {
            return Ok(());
        }
        let handler = self.claims.handlers[handler].name.clone();
        context.leave(call, AssistKind::Silence { handler }).map(drop)
    }

    fn log(
        &mut self,
        call: &Call,
        handler: usize,
        reason: &'static str,
        context: &mut Context,
    ) -> Result<(), AssistError> {
        if self.reasons.len() >= MOST_REASONS || !self.reasons.insert((handler, reason)) {
            return Ok(());
        }
        let handler = self.claims.handlers.get(handler).map(|claims| claims.name.clone()).unwrap_or_default();
        let reason = crate::text::bounded(reason);
        context.leave(call, AssistKind::Reason { handler, reason }).map(drop)
    }
}

fn claims_of(handler: &dyn Handler) -> HandlerClaims {
    let mut wanted = HandlerClaims {
        name: handler.name().to_owned(),
        idempotent: handler.idempotent(),
        ..HandlerClaims::default()
    };
    for claim in handler.claims() {
        match claim {
            Claim::Call(call) => wanted.calls.push(call),
            Claim::Device(device) => wanted.devices.push(device),
        }
    }
    wanted
}

/// The memory of the caller by way of the reader; keeps the end of the broker for later.
struct Assisted<'a> {
    context: &'a mut Context,
    broken: Option<AssistError>,
}

impl Assisted<'_> {
    fn kept<T>(&mut self, result: Result<Result<T, Errno>, AssistError>) -> Result<T, Errno> {
        result.unwrap_or_else(|error| {
            self.broken = Some(error);
            Err(Errno::EIO)
        })
    }
}

impl Port for Assisted<'_> {
    fn read(&mut self, call: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let result = self.context.memory(call, address, length);
        match &result {
            Ok(Ok(bytes)) => self.context.note_read(address, bytes),
            _ => self.context.note(|| Event::NoRead { address, length: u64::from(length) }),
        }
        self.kept(result)
    }

    fn write(&mut self, call: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.context.set_repeatable(None);
        let result = self.context.write(call, address, bytes);
        if !matches!(result, Ok(Ok(()))) {
            self.context.note(|| Event::NoWrite { address, length: bytes.len() as u64 });
        }
        self.kept(result)
    }
}

/// Runs `work` with the way to the caller's memory, and tells of ids that collided in it.
fn assisted<T>(
    call: &Call,
    context: &mut Context,
    work: impl FnOnce(&mut dyn Port) -> T,
) -> Result<T, AssistError> {
    let mut port = Assisted { context, broken: None };
    let done = work(&mut port);
    let Assisted { context, broken } = port;
    context.note_end();
    for Collision { ids, pc } in record::new_collisions() {
        context.leave(call, AssistKind::Collision { ids, pc }).map(drop)?;
    }
    broken.map_or(Ok(done), Err)
}

impl Service for Handlers {
    fn claims(&self, call: &Call) -> bool {
        // KCOV's own requests are for the KCOV device alone.
        let kcov = || self.is_ioctl(call) && abi::is_kcov_request(call.args[1] as u32);
        (self.is_for_a_device(call) || self.wanting(call).next().is_some()) && !kcov()
    }

    fn kind(&self, _: &Call) -> Kind {
        Kind::Handler
    }

    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        if self.is_for_a_device(call)
            && let Some(file) = context.ask(call, AssistKind::File { fd: call.args[0] as i32 })?.file
            && let Some(answer) = {
                let (request, arg) = (call.args[1] as u32, call.args[2]);
                context.note(|| Event::Ioctl { file: file.0, request, arg });
                assisted(call, context, |port| self.ioctl(file, call, port))?
            }
        {
            return self.settle(call, answer, context);
        }
        if self.wanting(call).next().is_none() {
            return Ok(Outcome::Pass);
        }
        context.note(|| Event::Call {
            tid: call.tid,
            abi: call.abi.number(),
            number: call.number,
            args: call.args,
        });
        context.set_repeatable(self.is_repeatable(call).then_some(call));
        let answer = assisted(call, context, |port| self.answer(call, port))?;
        if !matches!(answer, Some((_, Answer::Value(_) | Answer::Fail(_)))) {
            // What follows is not the handlers' alone: a descriptor for the caller, or what others do about the call.
            context.set_repeatable(None);
        }
        match answer {
            Some(answer) => self.settle(call, answer, context),
            None => Ok(Outcome::Pass),
        }
    }

    fn open(
        &mut self,
        opening: &Opening,
        context: &mut Context,
    ) -> Result<Option<Result<(), Errno>>, AssistError> {
        let Opening { call, device, flags, file } = opening;
        context.note(|| Event::Open { file: *file, device: *device, flags: *flags });
        assisted(call, context, |port| self.open_device(*device, *flags, *file, call, port)).map(Some)
    }

    fn closed(&mut self, files: &[ArenaId], context: &mut Context) {
        for &file in files {
            context.note(|| Event::Closed { file });
            self.close(&[file]);
            context.note_end();
        }
    }
}

#[cfg(test)]
mod tests;
