//! The soak test: random tenants that do everything the test clients can do, for any time, beside each other,
//! against long-lived brokers; and the conditions that must hold, checked from outside.
//!
//! | module | purpose |
//! |---|---|
//! | [`acts`] | what tenants do: the C clients, with arguments that keep each within seconds |
//! | [`inside`] | the driver, which is the command of a broker and starts act after act |
//! | [`broker`] | a long-lived broker with its driver, and samples of its resources |
//! | [`beside`] | separate short runs, for acts that need options of the broker |
//! | [`summary`] | counters and violations |

pub mod acts;
pub mod beside;
pub mod broker;
pub mod inside;
pub mod summary;

use crate::session::Session;
use acts::Theme;
use anyhow::Result;
use beside::Beside;
use broker::LongLived;
use std::fs;
use std::time::{Duration, Instant};
use summary::Summary;

/// Interval between looks at the processes.
const SAMPLE: Duration = Duration::from_secs(1);
/// Interval between progress messages.
const PROGRESS: Duration = Duration::from_secs(10);

/// Settings of a soak.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Duration.
    pub time: Duration,
    /// Random seed.
    pub seed: u64,
    /// Number of concurrent long-lived brokers; the themes are assigned in turn.
    pub brokers: usize,
    /// Whether to report progress on standard error.
    pub progress: bool,
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Runs the soak.
///
/// # Errors
/// When a client does not build or a broker does not start. Later failures are in the summary.
pub fn run(plan: &Plan) -> Result<Summary> {
    let mounted = mounts();
    let mut brokers = (0..plan.brokers)
        .map(|number| LongLived::start(Theme::in_turn(number), plan.time, plan.seed + number as u64))
        .collect::<Result<Vec<_>>>()?;
    let mut beside = Beside::new(plan.seed);
    let mut summary = Summary { seed: plan.seed, ..Summary::default() };
    let (start, mut reported) = (Instant::now(), Instant::now());
    while start.elapsed() < plan.time {
        brokers.iter_mut().for_each(|broker| broker.take_sample(start.elapsed()));
        beside.advance(&mut summary, plan.time.saturating_sub(start.elapsed()));
        if plan.progress && reported.elapsed() >= PROGRESS {
            reported = Instant::now();
            report_progress(&brokers, &summary, start.elapsed());
        }
        std::thread::sleep(SAMPLE.min(plan.time.saturating_sub(start.elapsed())));
    }
    beside.finish(&mut summary);
    for broker in brokers {
        broker.finish(&mut summary);
    }
    summary.seconds = start.elapsed().as_secs();
    if mounts() != mounted {
        summary.violation("the mounts of this machine have changed");
    }
    Ok(summary)
}

fn report_progress(brokers: &[LongLived], summary: &Summary, elapsed: Duration) {
    let states: Vec<String> = brokers.iter().map(LongLived::state).collect();
    let (runs, wrong) = (summary.runs_beside, summary.violations.len());
    eprintln!("{:5} s  {}  beside: {runs}  violations so far: {wrong}", elapsed.as_secs(), states.join("  "));
}

/// A session for a run of the soak.
fn session() -> Result<Session> {
    Session::new()
}
