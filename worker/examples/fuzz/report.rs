//! What the fuzzer tells: progress for people, a line of JSON for scripts.

use crate::corpus::Corpus;
use crate::feedback::Feedback;
use crate::options::Options;
use crate::program::Program;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Time from one line of progress to the next.
const PERIOD: Duration = Duration::from_secs(2);

/// What tells one crash from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The request that the device died of.
    pub request: Option<u32>,
    /// It did not come to an end.
    pub hung: bool,
    /// The last PC of a crash.
    pub at: Option<u64>,
}

impl Death {
    fn name(&self) -> &'static str {
        if self.hung { "hang" } else { "crash" }
    }
}

/// A death, and when it was.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    death: Death,
    executions: u64,
    seconds: f64,
}

/// Counts of a campaign.
#[derive(Debug)]
pub struct Report {
    /// Programs run.
    pub executions: u64,
    /// Different deaths.
    pub deaths: Vec<Death>,
    found: Vec<Value>,
    seed: u64,
    json: bool,
    start: Instant,
    next_line: Duration,
}

impl Report {
    /// Of a campaign that starts now.
    pub fn new(options: &Options) -> Self {
        let (seed, json) = (options.seed, options.json);
        let (deaths, found) = (Vec::new(), Vec::new());
        Report { executions: 0, deaths, found, seed, json, start: Instant::now(), next_line: PERIOD }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The device died. If it was not told yet that it does so, what to tell.
    pub fn if_new(&self, death: Death) -> Option<Finding> {
        if self.deaths.contains(&death) {
            return None;
        }
        Some(Finding { death, executions: self.executions, seconds: self.elapsed().as_secs_f64() })
    }

    /// Tells of a death, and by what it can be had again.
    pub fn found(&mut self, finding: Finding, program: &Program) {
        let Finding { death, executions, seconds } = finding;
        self.deaths.push(death);
        let (kind, program) = (death.name(), program.to_string());
        let at = death.at.map(|pc| format!("{pc:#x}"));
        let place = at.as_ref().map(|pc| format!(" at {pc}")).unwrap_or_default();
        self.say(&format!("{kind}{place} after {executions} executions, {seconds:.1} s: {program}"));
        self.found.push(json!({
            "kind": kind, "request": death.request, "at": at, "program": program,
            "executions": executions, "seconds": seconds,
        }));
    }

    /// Prints a line of progress if it is time.
    pub fn tick(&mut self, corpus: &Corpus, feedback: &Feedback) {
        let elapsed = self.elapsed();
        if elapsed >= self.next_line {
            self.next_line = elapsed + PERIOD;
            self.progress(corpus, feedback);
        }
    }

    fn progress(&self, corpus: &Corpus, feedback: &Feedback) {
        let seconds = self.elapsed().as_secs_f64();
        let hangs = self.deaths.iter().filter(|death| death.hung).count();
        self.say(&format!(
            "{seconds:.1} s: {} executions ({:.0}/s), corpus {}, {} PCs, {} edges, {} crashes, {hangs} hangs",
            self.executions,
            self.executions as f64 / seconds,
            corpus.len(),
            feedback.pcs().len(),
            feedback.edges(),
            self.deaths.len() - hangs,
        ));
    }

    /// Prints the end.
    pub fn finish(&self, corpus: &Corpus, feedback: &Feedback) {
        self.progress(corpus, feedback);
        if self.json {
            let report = json!({
                "seed": self.seed, "executions": self.executions, "seconds": self.elapsed().as_secs_f64(),
                "corpus": corpus.len(), "pcs": feedback.pcs().len(), "edges": feedback.edges(), "crashes": self.found,
            });
            println!("{report}");
        }
    }

    fn say(&self, line: &str) {
        if self.json { eprintln!("{line}") } else { println!("{line}") }
    }
}
