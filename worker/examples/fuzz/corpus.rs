//! Programs worth changing.

use crate::program::Program;
use fastrand::Rng;

/// A program that covered something new.
#[derive(Debug)]
struct Entry {
    program: Program,
    /// Changed copies that ended in a crash or a hang.
    deaths: u32,
}

/// The programs that covered something new, each when it was tried.
#[derive(Debug, Default)]
pub struct Corpus {
    entries: Vec<Entry>,
}

impl Corpus {
    /// Keeps a program. Returns its number.
    pub fn keep(&mut self, program: Program) -> usize {
        self.entries.push(Entry { program, deaths: 0 });
        self.entries.len() - 1
    }

    /// Programs kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of a program to change: the more of its copies died already, the more rarely. Each death costs a
    /// worker, a hang the deadline besides.
    pub fn choose(&self, rng: &mut Rng) -> Option<usize> {
        loop {
            let number = rng.choice(0..self.entries.len())?;
            if rng.u32(0..=self.entries[number].deaths) == 0 {
                return Some(number);
            }
        }
    }

    /// A program by its number.
    pub fn program(&self, number: usize) -> &Program {
        &self.entries[number].program
    }

    /// A copy of it died.
    pub fn died(&mut self, number: usize) {
        let deaths = &mut self.entries[number].deaths;
        *deaths = deaths.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadly_programs_are_chosen_rarely() {
        let mut rng = Rng::with_seed(1);
        let mut corpus = Corpus::default();
        assert_eq!(corpus.choose(&mut rng), None);
        let numbers = [0, 1].map(|_| corpus.keep(Program { requests: Vec::new() }));
        assert_eq!(numbers, [0, 1]);
        (0..99).for_each(|_| corpus.died(1));
        let deadly = (0..1000).filter(|_| corpus.choose(&mut rng) == Some(1)).count();
        assert!((1..50).contains(&deadly), "{deadly}");
    }
}
