//! Runs the handlers again on the events of a journal, without a tenant.

use crate::call::{Abi, Call};
use crate::caller::Port;
use crate::handler::{Answer, Handler};
use crate::handlers::Handlers;
use crate::jail::{enforce, rules};
use crate::loading::{Library, finish};
use crate::sys::crash;
use anyhow::{Context, bail};
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::{self, Event};
use std::collections::{HashMap, VecDeque};

/// Replays the events of the file that the first argument names, with the handlers of the program and of the others.
/// With `--jail` a worker's filter is installed first, for a death by it.
///
/// # Errors
/// If the file is no journal's, or a library does not load.
pub fn run(arguments: &[String], mut handlers: Vec<Box<dyn Handler>>) -> anyhow::Result<()> {
    let Some((path, rest)) = arguments.split_first() else { bail!("which events?") };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let events = journal::decode(&bytes).with_context(|| format!("{path} has no events of a worker"))?;
    let jail = rest.first().is_some_and(|argument| argument == "--jail");
    // As in a worker: a stack that is used up is a SIGSEGV, a panic an abort.
    crash::install().context("sigaction")?;
    crash::abort_on_panic();
    for argument in rest.iter().skip(usize::from(jail)) {
        let library = argument.strip_prefix("--handler=").and_then(Library::parse);
        let library = library.with_context(|| format!("unknown argument {argument}"))?;
        handlers.push(library.open()?.load()?);
    }
    let mut replay = Replay { handlers: finish(handlers)?, devices: HashMap::new() };
    if jail {
        nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")?;
        enforce(&mut rules::filter(rules::WORKER)?)?;
    }
    let mut events = VecDeque::from(events);
    while let Some(event) = events.pop_front() {
        replay.step(&event, &mut memory(&mut events));
    }
    Ok(())
}

/// The reads and writes that belong to the event that was just taken.
fn memory(events: &mut VecDeque<Event>) -> Memory {
    let mut reads = VecDeque::new();
    while events.front().is_some_and(|event| !event.begins()) {
        reads.extend(events.pop_front());
    }
    Memory { reads }
}

struct Replay {
    handlers: Handlers,
    /// Devices of the files that were opened.
    devices: HashMap<ArenaId, u16>,
}

impl Replay {
    fn step(&mut self, event: &Event, memory: &mut Memory) {
        match event {
            Event::Call { tid, abi, number, args } => {
                let abi = Abi::numbered(*abi).unwrap_or(Abi::Native);
                let call = Call { id: 1, tid: *tid, abi, number: *number, args: *args };
                let answer = self.handlers.answer(&call, memory);
                println!("call {number} {}", said(answer));
            }
            Event::Open { file, device, flags } => {
                self.devices.insert(*file, *device);
                let result =
                    self.handlers.open_device(*device, *flags, *file, &Call::open(1, 1, *flags), memory);
                let result =
                    result.map_or_else(|errno| format!("fails with {errno}"), |()| "succeeds".to_owned());
                println!("open of file {} {result}", file.number());
            }
            Event::Ioctl { file, request, arg } => {
                let device = self.devices.get(file).copied().unwrap_or_default();
                let args = [0, u64::from(*request), *arg, 0, 0, 0];
                let call = Call { id: 1, tid: 1, abi: Abi::Native, number: libc::SYS_ioctl as i32, args };
                let answer = self.handlers.ioctl((*file, device), &call, memory);
                println!("ioctl {request:#x} of file {} {}", file.number(), said(answer));
            }
            Event::Closed { file } => self.handlers.close(&[*file]),
            Event::Read { .. } | Event::NoRead { .. } | Event::NoWrite { .. } => {}
        }
    }
}

/// What became of a call.
fn said(answer: Option<(usize, Answer)>) -> String {
    match answer.map(|(_, answer)| answer) {
        None => "is no handler's".to_owned(),
        Some(Answer::Value(value)) => format!("returns {value}"),
        Some(Answer::Fail(errno)) => format!("fails with {errno}"),
        Some(Answer::Descriptor { .. }) => "returns a new descriptor".to_owned(),
        Some(Answer::Continue { reason }) => format!("goes on: {reason}"),
    }
}

/// The caller's memory, as far as the handler read it then.
struct Memory {
    reads: VecDeque<Event>,
}

impl Port for Memory {
    fn read(&mut self, _: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let wanted = |event: &Event| match event {
            Event::Read { address: at, bytes } => *at == address && bytes.len() == length as usize,
            Event::NoRead { address: at, .. } => *at == address,
            _ => false,
        };
        let place = self.reads.iter().position(wanted).ok_or(Errno::EFAULT)?;
        match self.reads.remove(place) {
            Some(Event::Read { bytes, .. }) => Ok(bytes),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&mut self, _: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let refused = Event::NoWrite { address, length: bytes.len() as u64 };
        match self.reads.iter().position(|event| *event == refused) {
            Some(place) => {
                self.reads.remove(place);
                Err(Errno::EFAULT)
            }
            None => Ok(()),
        }
    }
}
