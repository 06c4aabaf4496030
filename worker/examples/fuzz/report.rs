//! Reports: progress lines for people, a line of JSON for scripts.

use crate::corpus::Corpus;
use crate::feedback::Feedback;
use crate::options::Options;
use crate::program::Program;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Time between lines of progress.
const PERIOD: Duration = Duration::from_secs(2);

/// The properties that distinguish one crash from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Code of the request during which the device crashed or hung.
    pub request: Option<u32>,
    /// Whether it was a hang.
    pub hung: bool,
    /// Last PC before a crash.
    pub at: Option<u64>,
}

impl Signature {
    fn name(&self) -> &'static str {
        if self.hung { "hang" } else { "crash" }
    }
}

/// A crash or hang, and when it was found.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    signature: Signature,
    executions: u64,
    seconds: f64,
}

/// Statistics of a campaign.
#[derive(Debug)]
pub struct Report {
    /// Number of programs run.
    pub executions: u64,
    /// Different crashes and hangs.
    pub signatures: Vec<Signature>,
    found: Vec<Value>,
    seed: u64,
    json: bool,
    start: Instant,
    next_line: Duration,
}

impl Report {
    /// Starts the clock of a campaign.
    pub fn new(options: &Options) -> Self {
        let (seed, json) = (options.seed, options.json);
        let (signatures, found) = (Vec::new(), Vec::new());
        Report { executions: 0, signatures, found, seed, json, start: Instant::now(), next_line: PERIOD }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns a finding if this crash was not reported before.
    pub fn if_new(&self, signature: Signature) -> Option<Finding> {
        if self.signatures.contains(&signature) {
            return None;
        }
        Some(Finding { signature, executions: self.executions, seconds: self.elapsed().as_secs_f64() })
    }

    /// Reports a crash or hang, with a program that reproduces it.
    pub fn found(&mut self, finding: Finding, program: &Program) {
        let Finding { signature, executions, seconds } = finding;
        self.signatures.push(signature);
        let (kind, program) = (signature.name(), program.to_string());
        let at = signature.at.map(|pc| format!("{pc:#x}"));
        let place = at.as_ref().map(|pc| format!(" at {pc}")).unwrap_or_default();
        self.say(&format!("{kind}{place} after {executions} executions, {seconds:.1} s: {program}"));
        self.found.push(json!({
            "kind": kind, "request": signature.request, "at": at, "program": program,
            "executions": executions, "seconds": seconds,
        }));
    }

    /// Prints a line of progress if one is due.
    pub fn tick(&mut self, corpus: &Corpus, feedback: &Feedback) {
        let elapsed = self.elapsed();
        if elapsed >= self.next_line {
            self.next_line = elapsed + PERIOD;
            self.progress(corpus, feedback);
        }
    }

    fn progress(&self, corpus: &Corpus, feedback: &Feedback) {
        let seconds = self.elapsed().as_secs_f64();
        let hangs = self.signatures.iter().filter(|signature| signature.hung).count();
        self.say(&format!(
            "{seconds:.1} s: {} executions ({:.0}/s), corpus {}, {} PCs, {} edges, {} crashes, {hangs} hangs",
            self.executions,
            self.executions as f64 / seconds,
            corpus.len(),
            feedback.pcs().len(),
            feedback.edges(),
            self.signatures.len() - hangs,
        ));
    }

    /// Prints the last line of progress, and the JSON report.
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
