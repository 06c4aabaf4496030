//! Runs handlers on the events of a journal, without a tenant.

use crate::call::{Abi, Call};
use crate::caller::CallerMemory;
use crate::handler::{Answer, Handler};
use crate::handlers::Handlers;
use crate::jail::{enforce, rules};
use crate::loading::{Library, finish, open_plain};
use crate::sys::crash;
use anyhow::{Context, bail};
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::{self, Event};
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::path::Path;

/// Most bytes of events that are read.
const MAX_EVENTS: u64 = 64 << 20;

/// Replays the events in the file named by the first argument, with the program's handlers and those of
/// `--handler` arguments. With `--jail`, installs a worker's seccomp filter first, to reproduce a death by
/// it.
///
/// # Errors
/// If the file has no valid events, or a library cannot be loaded.
pub fn run(arguments: &[String], mut handlers: Vec<Box<dyn Handler>>) -> anyhow::Result<()> {
    let Some((path, rest)) = arguments.split_first() else { bail!("the file with the events is missing") };
    let mut bytes = Vec::new();
    let opened = open_plain(Path::new(path)).and_then(|file| file.take(MAX_EVENTS).read_to_end(&mut bytes));
    opened.with_context(|| format!("cannot read {path}"))?;
    let events =
        journal::decode(&bytes).with_context(|| format!("{path} does not contain the events of a worker"))?;
    let jail = rest.first().is_some_and(|argument| argument == "--jail");
    // As in a worker: a stack overflow raises SIGSEGV on the signal stack, a panic aborts.
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
        replay.step(&event, &mut accesses_of_event(&mut events));
    }
    Ok(())
}

/// The memory accesses that follow the event just taken.
fn accesses_of_event(events: &mut VecDeque<Event>) -> RecordedMemory {
    let mut reads = VecDeque::new();
    while events.front().is_some_and(|event| !event.begins()) {
        reads.extend(events.pop_front());
    }
    RecordedMemory { reads }
}

struct Replay {
    handlers: Handlers,
    /// Number of the device of each open file.
    devices: HashMap<ArenaId, u16>,
}

impl Replay {
    fn step(&mut self, event: &Event, memory: &mut RecordedMemory) {
        match event {
            Event::Call { tid, abi, number, args } => {
                let abi = Abi::numbered(*abi).unwrap_or(Abi::Native);
                let call = Call { id: 1, tid: *tid, abi, number: *number, args: *args };
                let answer = self.handlers.answer(&call, memory);
                println!("call {number} {}", describe(answer));
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
                println!("ioctl {request:#x} of file {} {}", file.number(), describe(answer));
            }
            Event::Closed { file } => self.handlers.close(*file),
            Event::Read { .. } | Event::NoRead { .. } | Event::NoWrite { .. } => {}
        }
    }
}

/// Describes the answer to a call.
fn describe(answer: Option<(usize, Answer)>) -> String {
    match answer.map(|(_, answer)| answer) {
        None => "is not claimed by any handler".to_owned(),
        Some(Answer::Value(value)) => format!("returns {value}"),
        Some(Answer::Fail(errno)) => format!("fails with {errno}"),
        Some(Answer::Descriptor { .. }) => "returns a new descriptor".to_owned(),
        Some(Answer::Continue { reason }) => format!("continues: {}", reason.escape_debug()),
    }
}

/// The caller's memory, as far as the handler has read it in the recorded run.
struct RecordedMemory {
    reads: VecDeque<Event>,
}

impl CallerMemory for RecordedMemory {
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
