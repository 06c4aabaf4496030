//! The main loop: choose a program, run it, evaluate its coverage.

use crate::corpus::Corpus;
use crate::device::{Device, Execution, Failure};
use crate::feedback::{Edge, Feedback, edges};
use crate::hints::{self, Hints};
use crate::mutate::Mutator;
use crate::options::Options;
use crate::program::Program;
use crate::report::{Report, Signature};
use anyhow::Context;
use fastrand::Rng;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Most hints that wait to be tried. The oldest are dropped.
const MAX_QUEUED: usize = 1 << 16;
/// One in this many programs is new and not a mutated one.
const FRESH: u32 = 100;

/// A program to try.
struct Candidate {
    program: Program,
    /// Number of the program in the corpus that it was made from.
    parent: Option<usize>,
    /// Whether it was made from a comparison: it differs from its parent in one operand.
    is_hint: bool,
}

/// What shortening a program must preserve.
enum Goal {
    /// It completes, and covers these edges.
    Covers(Vec<Edge>),
    /// It crashes or hangs the device in this way.
    Fails(Signature),
}

struct Campaign {
    rng: Rng,
    device: Device,
    mutator: Mutator,
    corpus: Corpus,
    feedback: Feedback,
    /// Hints from equalities. Those from inequalities are in `near`, and are tried when `hints` is empty.
    hints: VecDeque<Candidate>,
    near: VecDeque<Candidate>,
    /// Hints that were already queued.
    suggested: HashSet<Program>,
    with_hints: bool,
    hang: Duration,
    report: Report,
}

/// Fuzzes until one of the limits is reached. Returns whether enough crashes were found.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let mut campaign = Campaign::new(options)?;
    let is_over = |report: &Report| {
        options.executions.is_some_and(|max| report.executions >= max)
            || options.time.is_some_and(|max| report.elapsed() >= max)
            || options.crashes.is_some_and(|wanted| report.signatures.len() >= wanted)
    };
    while !is_over(&campaign.report) {
        let candidate = campaign.next();
        campaign.attempt(candidate)?;
        campaign.report.tick(&campaign.corpus, &campaign.feedback);
    }
    campaign.report.finish(&campaign.corpus, &campaign.feedback);
    if let Some(path) = &options.pcs {
        let lines: String = campaign.feedback.pcs().iter().map(|pc| format!("{pc:#x}\n")).collect();
        std::fs::write(path, lines).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(options.crashes.is_none_or(|wanted| campaign.report.signatures.len() >= wanted))
}

impl Campaign {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let memory = usize::from(options.memory);
        let sample = |path| {
            let mut bytes = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
            bytes.resize(memory, 0);
            anyhow::Ok(bytes)
        };
        let samples: Vec<_> = options.sample.iter().map(sample).collect::<Result<_, _>>()?;
        let mutator = Mutator { requests: options.requests.clone(), memory, samples };
        Ok(Campaign {
            rng: Rng::with_seed(options.seed),
            device: Device::new(options.device.clone())?,
            mutator,
            corpus: Corpus::default(),
            feedback: Feedback::default(),
            hints: VecDeque::new(),
            near: VecDeque::new(),
            suggested: HashSet::new(),
            with_hints: !options.no_cmp,
            hang: Duration::from_millis(options.hang),
            report: Report::new(options),
        })
    }

    /// The next program: every other time a hint, if there is one; else a mutated program of the corpus.
    fn next(&mut self) -> Candidate {
        if self.rng.bool()
            && let Some(hint) = self.hints.pop_front().or_else(|| self.near.pop_front())
        {
            return hint;
        }
        let chosen = if self.rng.u32(..FRESH) == 0 { None } else { self.corpus.choose(&mut self.rng) };
        let (Some(chosen), Some(other)) = (chosen, self.corpus.choose(&mut self.rng)) else {
            let program = self.mutator.program(&mut self.rng);
            return Candidate { program, parent: None, is_hint: false };
        };
        let (program, other) = (self.corpus.program(chosen), self.corpus.program(other));
        let program = self.mutator.mutate(program, other, &mut self.rng);
        Candidate { program, parent: Some(chosen), is_hint: false }
    }

    fn attempt(&mut self, Candidate { program, parent, is_hint }: Candidate) -> anyhow::Result<()> {
        let Execution { records, failure } = self.trace(&program)?;
        let new = self.feedback.take(&records);
        if let Some(failure) = failure {
            if let Some(parent) = parent {
                self.corpus.count_failure(parent);
                if is_hint && failure.took >= self.hang {
                    self.postpone_hints_of(parent);
                }
            }
            return self.report_failure(&program, failure, &records);
        }
        if new.is_empty() {
            return Ok(());
        }
        let program = self.shorten(program, &Goal::Covers(new))?;
        let number = self.corpus.keep(program);
        if self.with_hints { self.take_hints(number) } else { Ok(()) }
    }

    fn trace(&mut self, program: &Program) -> anyhow::Result<Execution<u64>> {
        self.report.executions += 1;
        self.device.trace(program)
    }

    /// Removes requests that are not needed to meet the goal, from the last to the first.
    fn shorten(&mut self, mut program: Program, goal: &Goal) -> anyhow::Result<Program> {
        for place in (0..program.requests.len()).rev() {
            if program.requests.len() == 1 {
                break;
            }
            let shorter = program.without(place);
            if self.meets(goal, &shorter)? {
                program = shorter;
            }
        }
        Ok(program)
    }

    fn meets(&mut self, goal: &Goal, program: &Program) -> anyhow::Result<bool> {
        let Execution { records, failure } = self.trace(program)?;
        Ok(match (goal, failure) {
            (Goal::Covers(wanted), None) => {
                let covered: HashSet<Edge> = edges(&records).collect();
                wanted.iter().all(|edge| covered.contains(edge))
            }
            (Goal::Fails(wanted), Some(failure)) => self.signature(program, failure, &records) == *wanted,
            _ => false,
        })
    }

    /// Queues hints for a program of the corpus. Also for copies with the other kind of argument at one
    /// place, because the kind that a request takes is unknown.
    fn take_hints(&mut self, number: usize) -> anyhow::Result<()> {
        let program = self.corpus.program(number).clone();
        let places = 0..program.requests.len();
        let others: Vec<_> =
            places.map(|place| self.mutator.with_other_kind(&program, place, &mut self.rng)).collect();
        for program in others.into_iter().chain([program]) {
            self.report.executions += 1;
            let comparisons = self.device.compare(&program)?.records.concat();
            let Hints { mut equal, mut near } = hints::of(&program, &comparisons);
            for (waiting, suggested) in [(&mut self.hints, &mut equal), (&mut self.near, &mut near)] {
                suggested.retain(|program| self.suggested.insert(program.clone()));
                // Newest first: they build on the progress of earlier ones.
                for program in suggested.drain(..).rev() {
                    waiting.push_front(Candidate { program, parent: Some(number), is_hint: true });
                }
                waiting.truncate(MAX_QUEUED);
            }
        }
        if self.suggested.len() > MAX_QUEUED {
            self.suggested.clear();
        }
        Ok(())
    }

    /// Moves the remaining hints of a program to the end of the queue after one of them hung, and drops the
    /// less promising ones: each hang costs the deadline.
    fn postpone_hints_of(&mut self, parent: usize) {
        let is_of_parent = |hint: &Candidate| hint.parent == Some(parent);
        self.near.retain(|hint| !is_of_parent(hint));
        let (last, first): (Vec<_>, Vec<_>) = self.hints.drain(..).partition(is_of_parent);
        self.hints.extend(first);
        self.near.extend(last);
    }

    /// The properties that distinguish this crash from others.
    fn signature(&self, program: &Program, failure: Failure, records: &[Vec<u64>]) -> Signature {
        let hung = failure.took >= self.hang;
        // Where a loop was interrupted is random.
        let at = records.get(failure.place).and_then(|trace| trace.last()).copied().filter(|_| !hung);
        Signature { request: program.requests.get(failure.place).map(|request| request.number), hung, at }
    }

    /// Reports a crash or hang that is new and reproducible, with a program as short as possible.
    fn report_failure(
        &mut self,
        program: &Program,
        failure: Failure,
        records: &[Vec<u64>],
    ) -> anyhow::Result<()> {
        let signature = self.signature(program, failure, records);
        let Some(finding) = self.report.if_new(signature) else { return Ok(()) };
        let program = program.up_to(failure.place);
        let goal = Goal::Fails(signature);
        if !self.meets(&goal, &program)? {
            // The hang may have been a busy machine.
            return Ok(());
        }
        // Each attempt with a hang costs the deadline.
        let program = if signature.hung { program } else { self.shorten(program, &goal)? };
        self.report.found(finding, &program);
        Ok(())
    }
}
