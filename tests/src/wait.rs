//! Waits for a condition, with a deadline.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Interval between checks: short compared with a process start, long compared with a look at `/proc`.
const PAUSE: Duration = Duration::from_millis(5);

/// Checks `condition` until it returns a value, and returns that.
///
/// # Errors
/// When `within` has passed; the message names `what` was waited for.
pub fn until<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {within:?} for {what}");
        }
        sleep(PAUSE);
    }
}
