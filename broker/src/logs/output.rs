//! Lines on standard error. None of them contains raw text of others, and none can end or hold up this process: what
//! cannot be written is dropped and counted.

use super::LogFormat;
use crate::printable;
use crate::sys::standard_error;
use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// How long a message to the user waits for room, for instance in a pipe whose reader is slow.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines of the log that were not written and not reported yet.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Prints a message of this program to the user. It may have several lines.
pub fn print_message(message: impl Display) {
    print_line(format_args!("kcov-broker: {message}"));
}

/// Prints a text, which may have several lines, without the name of the program in front.
pub fn print_line(text: impl Display) {
    let text = format!("{}\n", printable::lines(&text.to_string()));
    // There is nowhere to report a failure.
    let _ = standard_error::write(text.as_bytes(), PATIENCE);
}

/// Logs how many lines could not be written since the last such line.
pub(super) fn report_lost() {
    let times = LOST.swap(0, Ordering::Relaxed);
    if times > 0 {
        warn!(event = "log_lost", times, "standard error did not take all lines of the log");
    }
}

/// Writes the lines of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output(pub LogFormat);

impl<'a> MakeWriter<'a> for Output {
    type Writer = Output;

    fn make_writer(&'a self) -> Output {
        *self
    }
}

impl io::Write for Output {
    /// Writes one event. The subscriber formats it completely before it calls this.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let escaped = match self.0 {
            LogFormat::Text => printable::line(text),
            LogFormat::Json => printable::json(text),
        };
        if !standard_error::write(format!("{escaped}\n").as_bytes(), Duration::ZERO) {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        // Never an error: the subscriber would print it to standard error, and panic if that fails.
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
