//! The file `report.txt`: an artifact for people. It folds repeated events and shows only the handler's part of the
//! stack; `artifact.json` has everything.

use super::frames::Frame;
use super::record::{Artifact, hex};
use crate::printable;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::Event;
use std::fmt::Write as _;

/// Longest sequence of events that is recognized as a repetition.
const MAX_PERIOD: usize = 8;

impl Artifact {
    /// Formats the report; `output` is the symbolized output of the worker.
    pub(super) fn report(&self, output: &str) -> String {
        let mut text = format!("{} in {}\n\n", self.end.name(), printable::line(&self.call));
        if let Some(address) = self.fault {
            let _ = writeln!(text, "fault at {address:#x}");
        }
        if let Some(call) = &self.forbidden {
            let _ = writeln!(text, "system call not allowed by the jail: {}", printable::line(call));
        }
        text += &self.stack_of_the_handler();
        text += "\nEvents of the handler, oldest first:\n";
        if self.truncated {
            text += "  (older events are missing)\n";
        }
        text += &folded(&self.events);
        if self.reads_missing {
            text += "  (some memory reads are missing)\n";
        }
        if !output.is_empty() {
            let _ = writeln!(text, "\nOutput of the worker:\n{}", printable::lines(output));
        }
        text
    }

    fn stack_of_the_handler(&self) -> String {
        let frames = self.frames_of_the_handler().unwrap_or(0..self.stack.len());
        let (start, end) = (frames.start, frames.end);
        let mut text = String::new();
        if let Some(called) = self.stack[..start].last() {
            let _ =
                writeln!(text, "{:<5} in {}, called by", numbers(0, start), printable::line(&name(called)));
        }
        for (depth, frame) in (start..).zip(&self.stack[frames]) {
            let _ =
                writeln!(text, "{:<5} {}", numbers(depth, depth + 1), printable::line(&frame.to_string()));
        }
        if end < self.stack.len() {
            let _ = writeln!(text, "{} in the worker itself", numbers(end, self.stack.len()));
        }
        text
    }
}

fn numbers(start: usize, end: usize) -> String {
    if end == start + 1 { format!("#{start}") } else { format!("#{start}-{}", end - 1) }
}

/// The function of a frame, or else its location.
fn name(frame: &Frame) -> String {
    frame.function.clone().unwrap_or_else(|| frame.to_string())
}

/// Formats one event per line. A repeated sequence is written once, with the number of repetitions.
fn folded(events: &[Event]) -> String {
    let keys: Vec<Event> = events.iter().map(without_file).collect();
    let mut text = String::new();
    let mut at = 0;
    while at < events.len() {
        let (period, times) = repetition(&keys[at..]);
        for event in &events[at..at + period] {
            let _ = writeln!(text, "  {}", line(event));
        }
        if times > 1 {
            let what = if period == 1 { String::new() } else { format!("the last {period} lines, ") };
            let _ = writeln!(text, "  ({what}{times} times in total)");
        }
        at += period * times;
    }
    text
}

/// Finds the repetition at the start of `keys` that covers most events, preferring short ones. Returns its length and
/// the number of repetitions.
fn repetition(keys: &[Event]) -> (usize, usize) {
    let times = |period: usize| {
        let (first, rest) = keys.split_at(period);
        1 + rest.chunks_exact(period).take_while(|next| *next == first).count()
    };
    let found = (1..=MAX_PERIOD.min(keys.len())).map(|period| (period, times(period)));
    // The note about a repetition takes a line itself.
    let repeated = found.filter(|(period, times)| period * (times - 1) > 1).rev();
    repeated.max_by_key(|(period, times)| period * times).unwrap_or((1, 1))
}

/// An event without its file number, so that the same event on another file counts as a repetition.
fn without_file(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Open { file, .. } | Event::Ioctl { file, .. } | Event::Closed { file } => {
            *file = ArenaId { index: 0, generation: 0 };
        }
        Event::Call { .. } | Event::Read { .. } | Event::NoRead { .. } | Event::NoWrite { .. } => {}
    }
    event
}

fn line(event: &Event) -> String {
    match event {
        Event::Call { number, args, .. } => format!("call {number}({})", hex(args)),
        Event::Open { file, device, flags } => {
            format!("open of device {device}, flags {flags:#x}: file {}", file.number())
        }
        Event::Ioctl { file, request, arg } => {
            format!("ioctl(file {}, {request:#x}, {arg:#x})", file.number())
        }
        Event::Closed { file } => format!("close of file {}", file.number()),
        Event::Read { address, bytes } => {
            const SHOWN: usize = 64;
            let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
            let more = if bytes.len() > SHOWN { "..." } else { "" };
            format!("  read of {} bytes at {address:#x}: {shown}{more}", bytes.len())
        }
        Event::NoRead { address, length } => format!("  read of {length} bytes at {address:#x}: refused"),
        Event::NoWrite { address, length } => format!("  write of {length} bytes at {address:#x}: refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(index: u32) -> Event {
        Event::Open { file: ArenaId { index, generation: 0 }, device: 0, flags: 2 }
    }

    fn asked(index: u32, arg: u64) -> Event {
        Event::Ioctl { file: ArenaId { index, generation: 0 }, request: 0x7001, arg }
    }

    #[test]
    fn repetitions_are_folded() {
        let mut events: Vec<Event> = (0..5).flat_map(|file| [opened(file), asked(file, 7)]).collect();
        events.extend([asked(4, 8), asked(4, 9), asked(4, 9), asked(4, 9)]);
        let expected = "  open of device 0, flags 0x2: file 0\n  ioctl(file 0, 0x7001, 0x7)\n  (the last 2 lines, 5 times in total)\n  \
                        ioctl(file 4, 0x7001, 0x8)\n  ioctl(file 4, 0x7001, 0x9)\n  (3 times in total)\n";
        assert_eq!(folded(&events), expected);
    }

    #[test]
    fn short_repetitions_are_not_folded() {
        assert_eq!(folded(&[]), "");
        assert_eq!(folded(&[opened(1), opened(2)]).lines().count(), 2);
        assert_eq!(folded(&[opened(1), asked(1, 1)]).lines().count(), 2);
    }
}
