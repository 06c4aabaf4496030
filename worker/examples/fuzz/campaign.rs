//! The loop: choose a program, run it, look at what it covered.

use crate::corpus::Corpus;
use crate::device::{Device, Died, Execution};
use crate::feedback::{Edge, Feedback, edges};
use crate::hints::{self, Hints};
use crate::mutate::Mutator;
use crate::options::Options;
use crate::program::Program;
use crate::report::{Death, Report};
use anyhow::Context;
use fastrand::Rng;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Most programs that wait to be tried; those of the oldest comparisons are given up.
const MOST_HINTS: usize = 1 << 16;
/// One of so many programs has nothing of the corpus.
const FRESH: u32 = 100;

/// A program to try.
struct Candidate {
    program: Program,
    /// Number of the one in the corpus that it was made of.
    parent: Option<usize>,
    /// By a comparison: it differs from its parent in one operand.
    is_hint: bool,
}

/// What makes a program worth keeping, or telling.
enum Goal {
    /// It comes to its end, by these edges.
    Covers(Vec<Edge>),
    /// The device dies of it like this.
    Dies(Death),
}

struct Campaign {
    rng: Rng,
    device: Device,
    mutator: Mutator,
    corpus: Corpus,
    feedback: Feedback,
    /// What equalities suggest, and when there is none left, what orders do.
    hints: VecDeque<Candidate>,
    near: VecDeque<Candidate>,
    /// What was suggested before.
    suggested: HashSet<Program>,
    with_hints: bool,
    hang: Duration,
    report: Report,
}

/// Fuzzes until one of the limits is reached. Returns whether there were as many crashes as were wanted.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let mut campaign = Campaign::new(options)?;
    let is_over = |report: &Report| {
        options.executions.is_some_and(|most| report.executions >= most)
            || options.time.is_some_and(|most| report.elapsed() >= most)
            || options.crashes.is_some_and(|wanted| report.deaths.len() >= wanted)
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
    Ok(options.crashes.is_none_or(|wanted| campaign.report.deaths.len() >= wanted))
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

    /// The next program: what comparisons suggest in every other case, else a changed one of the corpus.
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
        let Execution { records, death } = self.trace(&program)?;
        let new = self.feedback.take(&records);
        if let Some(died) = death {
            if let Some(parent) = parent {
                self.corpus.died(parent);
                if is_hint && died.took >= self.hang {
                    self.put_off(parent);
                }
            }
            return self.died(&program, died, &records);
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

    /// Leaves out the requests without which a program still meets its goal, from the last to the first.
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
        let Execution { records, death } = self.trace(program)?;
        Ok(match (goal, death) {
            (Goal::Covers(wanted), None) => {
                let covered: HashSet<Edge> = edges(&records).collect();
                wanted.iter().all(|edge| covered.contains(edge))
            }
            (Goal::Dies(wanted), Some(died)) => self.death(program, died, &records) == *wanted,
            _ => false,
        })
    }

    /// Has tried what comparisons suggest, of a program of the corpus and of its like with an argument of the other
    /// kind: which kind a request takes, nobody has said.
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
                // The newest first: they lead on from where the others led to.
                for program in suggested.drain(..).rev() {
                    waiting.push_front(Candidate { program, parent: Some(number), is_hint: true });
                }
                waiting.truncate(MOST_HINTS);
            }
        }
        if self.suggested.len() > MOST_HINTS {
            self.suggested.clear();
        }
        Ok(())
    }

    /// What is suggested for a program that hung with one of its hints waits until there is nothing else, and the less
    /// promising part is given up: each hang costs the deadline.
    fn put_off(&mut self, parent: usize) {
        let is_of_parent = |hint: &Candidate| hint.parent == Some(parent);
        self.near.retain(|hint| !is_of_parent(hint));
        let (last, first): (Vec<_>, Vec<_>) = self.hints.drain(..).partition(is_of_parent);
        self.hints.extend(first);
        self.near.extend(last);
    }

    /// What tells this death from others.
    fn death(&self, program: &Program, died: Died, records: &[Vec<u64>]) -> Death {
        let hung = died.took >= self.hang;
        // Where a loop was at is chance.
        let at = records.get(died.place).and_then(|trace| trace.last()).copied().filter(|_| !hung);
        Death { request: program.requests.get(died.place).map(|request| request.number), hung, at }
    }

    /// Tells of a death that was none before and happens again, by a program that is as short as it can be.
    fn died(&mut self, program: &Program, died: Died, records: &[Vec<u64>]) -> anyhow::Result<()> {
        let death = self.death(program, died, records);
        let Some(finding) = self.report.if_new(death) else { return Ok(()) };
        let program = program.up_to(died.place);
        let goal = Goal::Dies(death);
        if !self.meets(&goal, &program)? {
            // A hang may be a machine that was busy.
            return Ok(());
        }
        // Each try with a hang would cost the deadline.
        let program = if death.hung { program } else { self.shorten(program, &goal)? };
        self.report.found(finding, &program);
        Ok(())
    }
}
