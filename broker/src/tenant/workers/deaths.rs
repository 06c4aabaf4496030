//! Dead workers whose wait status is not known yet.
//!
//! Only the zygote, their parent, can wait for workers. It reports the status once it has reaped one. The broker
//! answers the callers of a dead worker at once, and writes log and artifact when the report is there, or after
//! [`PATIENCE`]: a zygote may be stopped, or dead itself.

use super::process::{AllegedCall, Worker};
use std::time::{Duration, Instant};

/// Longest wait for the zygote's report.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Most workers that wait for it, each with its journal of 256 KiB.
const MOST: usize = 16;

/// A worker that died, with what is to be reported.
#[derive(Debug)]
pub struct Death {
    /// The worker.
    pub worker: Worker,
    /// The call that its slot showed.
    pub call: AllegedCall,
    /// Whether it died while the tenant still needed it.
    pub is_crash: bool,
    /// When its death was noticed.
    pub since: Instant,
}

impl Death {
    fn is_due(&self, now: Instant) -> bool {
        self.worker.wait_status().is_some() || now.saturating_duration_since(self.since) >= PATIENCE
    }
}

/// The workers that wait for the zygote's report, oldest first.
#[derive(Debug, Default)]
pub struct Deaths(Vec<Death>);

impl Deaths {
    /// Adds one.
    pub fn add(&mut self, death: Death) {
        self.0.push(death);
    }

    /// Notes the zygote's report.
    pub fn note_end(&mut self, pid: u32, signal: i32, status: i32) {
        let found = self.0.iter_mut().find(|death| death.worker.pid() == pid);
        found.into_iter().for_each(|death| death.worker.note_end(signal, status));
    }

    /// Takes those whose status is known or that have waited long enough, and the oldest if there are too many.
    pub fn take_due(&mut self, now: Instant) -> Vec<Death> {
        let over = self.0.len().saturating_sub(MOST);
        let (mut due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .enumerate()
            .partition(|(i, death)| *i < over || death.is_due(now));
        self.0 = rest.into_iter().map(|(_, death)| death).collect();
        due.drain(..).map(|(_, death)| death).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
