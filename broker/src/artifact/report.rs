//! `report.txt`: an artifact as people read it. What repeats is said once, and of the stack there is what is the
//! handler's; all of it is in `artifact.json`.

use super::frames::Frame;
use super::record::{Artifact, hex};
use kcov_proto::device::ArenaId;
use kcov_proto::journal::Event;
use std::fmt::Write as _;

/// Most lines of which a repetition is looked for.
const MOST_PERIOD: usize = 8;

impl Artifact {
    /// The report; `output` is what the worker wrote, explained.
    pub(super) fn report(&self, output: &str) -> String {
        let mut text = format!("{} in {}\n\n", self.end.name(), self.call);
        if let Some(address) = self.fault {
            let _ = writeln!(text, "fault at {address:#x}");
        }
        if let Some(call) = &self.forbidden {
            let _ = writeln!(text, "a call that the jail forbids: {call}");
        }
        text += &self.stack_of_the_handler();
        text += "\nWhat the handler did, the oldest first:\n";
        if self.truncated {
            text += "  (the beginning is missing)\n";
        }
        text += &folded(&self.events);
        if self.reads_missing {
            text += "  (some of what it read is missing)\n";
        }
        if !output.is_empty() {
            let _ = writeln!(text, "\nWhat the worker wrote:\n{output}");
        }
        text
    }

    fn stack_of_the_handler(&self) -> String {
        let frames = self.frames_of_the_handler().unwrap_or(0..self.stack.len());
        let (start, end) = (frames.start, frames.end);
        let mut text = String::new();
        if let Some(called) = self.stack[..start].last() {
            let _ = writeln!(text, "{:<5} inside of {}, called by", numbers(0, start), name(called));
        }
        for (depth, frame) in (start..).zip(&self.stack[frames]) {
            let _ = writeln!(text, "{:<5} {frame}", numbers(depth, depth + 1));
        }
        if end < self.stack.len() {
            let _ = writeln!(text, "{} are the worker's own", numbers(end, self.stack.len()));
        }
        text
    }
}

fn numbers(start: usize, end: usize) -> String {
    if end == start + 1 { format!("#{start}") } else { format!("#{start}-{}", end - 1) }
}

/// Its function, or where it is.
fn name(frame: &Frame) -> String {
    frame.function.clone().unwrap_or_else(|| frame.to_string())
}

/// The events, a line each; of some that follow each other again and again, the first ones and how often.
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
            let what = if period == 1 { "this".to_owned() } else { format!("these {period}") };
            let _ = writeln!(text, "  ({what} {times} times)");
        }
        at += period * times;
    }
    text
}

/// How many lines at the beginning repeat, and how often they are there: the most lines, by the shortest repetition.
fn repetition(keys: &[Event]) -> (usize, usize) {
    let times = |period: usize| {
        let (first, rest) = keys.split_at(period);
        1 + rest.chunks_exact(period).take_while(|next| *next == first).count()
    };
    let found = (1..=MOST_PERIOD.min(keys.len())).map(|period| (period, times(period)));
    // Telling of it takes a line itself.
    let repeated = found.filter(|(period, times)| period * (times - 1) > 1).rev();
    repeated.max_by_key(|(period, times)| period * times).unwrap_or((1, 1))
}

/// What an event has in common with one that repeats it on another file.
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
    fn what_repeats_is_told_once() {
        let mut events: Vec<Event> = (0..5).flat_map(|file| [opened(file), asked(file, 7)]).collect();
        events.extend([asked(4, 8), asked(4, 9), asked(4, 9), asked(4, 9)]);
        let expected = "  open of device 0, flags 0x2: file 0\n  ioctl(file 0, 0x7001, 0x7)\n  (these 2 5 times)\n  \
                        ioctl(file 4, 0x7001, 0x8)\n  ioctl(file 4, 0x7001, 0x9)\n  (this 3 times)\n";
        assert_eq!(folded(&events), expected);
    }

    #[test]
    fn nothing_is_told_that_was_not() {
        assert_eq!(folded(&[]), "");
        assert_eq!(folded(&[opened(1), opened(2)]).lines().count(), 2);
        assert_eq!(folded(&[opened(1), asked(1, 1)]).lines().count(), 2);
    }
}
