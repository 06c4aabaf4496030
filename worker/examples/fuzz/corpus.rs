//! The corpus: programs that are worth mutating.

use crate::program::Program;
use fastrand::Rng;

/// A program that covered something new.
#[derive(Debug)]
struct Entry {
    program: Program,
    /// Number of mutated copies that ended in a crash or a hang.
    failures: u32,
}

/// The programs that covered something new when they were tried.
#[derive(Debug, Default)]
pub struct Corpus {
    entries: Vec<Entry>,
}

impl Corpus {
    /// Adds a program. Returns its number.
    pub fn keep(&mut self, program: Program) -> usize {
        self.entries.push(Entry { program, failures: 0 });
        self.entries.len() - 1
    }

    /// Number of programs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Chooses a program to mutate. The more of its copies have crashed, the less likely it is: each crash
    /// costs a worker, and each hang also the deadline.
    pub fn choose(&self, rng: &mut Rng) -> Option<usize> {
        loop {
            let number = rng.choice(0..self.entries.len())?;
            if rng.u32(0..=self.entries[number].failures) == 0 {
                return Some(number);
            }
        }
    }

    /// The program with this number.
    pub fn program(&self, number: usize) -> &Program {
        &self.entries[number].program
    }

    /// Counts a crash or hang of a mutated copy.
    pub fn count_failure(&mut self, number: usize) {
        let failures = &mut self.entries[number].failures;
        *failures = failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashing_programs_are_chosen_rarely() {
        let mut rng = Rng::with_seed(1);
        let mut corpus = Corpus::default();
        assert_eq!(corpus.choose(&mut rng), None);
        let numbers = [0, 1].map(|_| corpus.keep(Program { requests: Vec::new() }));
        assert_eq!(numbers, [0, 1]);
        (0..99).for_each(|_| corpus.count_failure(1));
        let deadly = (0..1000).filter(|_| corpus.choose(&mut rng) == Some(1)).count();
        assert!((1..50).contains(&deadly), "{deadly}");
    }
}
