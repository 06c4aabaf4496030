//! Waiting for a condition, with a deadline.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against what a process start costs, long against a look at `/proc`.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value, and returns that.
///
/// # Errors
/// When `within` passed first; the message says that `what` did not happen.
pub fn until<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {within:?} in vain: {what}");
        }
        sleep(PAUSE);
    }
}
