//! The soak: random tenants that do all that the tests know, for as long as one likes, beside each other, against
//! brokers that live as long; and what must hold of it, seen from outside.
//!
//! | module | holds |
//! |---|---|
//! | [`acts`] | what tenants do: the C clients, with arguments that keep each within seconds |
//! | [`inside`] | the driver that is a broker's command and starts act after act |
//! | [`broker`] | a long-lived broker with its driver, and the samples that are taken of it |
//! | [`beside`] | short runs of their own, for acts that need options of the broker |
//! | [`summary`] | what is counted, and what is wrong |

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

/// How often processes are looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For how long.
    pub time: Duration,
    /// Where the random choices start.
    pub seed: u64,
    /// Long-lived brokers beside each other; each has a theme, in turn.
    pub brokers: usize,
    /// Whether progress is told on standard error.
    pub progress: bool,
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Soaks.
///
/// # Errors
/// When a client does not build, or a broker does not start. What goes wrong later is in the summary.
pub fn run(plan: &Plan) -> Result<Summary> {
    let mounted = mounts();
    let mut brokers = (0..plan.brokers)
        .map(|number| LongLived::start(Theme::in_turn(number), plan.time, plan.seed + number as u64))
        .collect::<Result<Vec<_>>>()?;
    let mut beside = Beside::new(plan.seed);
    let mut summary = Summary { seed: plan.seed, ..Summary::default() };
    let (start, mut told) = (Instant::now(), Instant::now());
    while start.elapsed() < plan.time {
        brokers.iter_mut().for_each(|broker| broker.look(start.elapsed()));
        beside.turn(&mut summary, plan.time.saturating_sub(start.elapsed()));
        if plan.progress && told.elapsed() >= PROGRESS {
            told = Instant::now();
            tell(&brokers, &summary, start.elapsed());
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

fn tell(brokers: &[LongLived], summary: &Summary, elapsed: Duration) {
    let states: Vec<String> = brokers.iter().map(LongLived::state).collect();
    let (runs, wrong) = (summary.runs_beside, summary.violations.len());
    eprintln!("{:5} s  {}  beside: {runs}  wrong so far: {wrong}", elapsed.as_secs(), states.join("  "));
}

/// A session for a run of the soak.
fn session() -> Result<Session> {
    Session::new()
}
