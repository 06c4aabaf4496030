//! Blind changes of a program.

use crate::program::{Argument, MOST_REQUESTS, Program, Request};
use fastrand::Rng;
use std::ops::RangeInclusive;

/// Values at which programs tend to decide.
const INTERESTING: [i64; 12] = [0, 1, -1, 7, 16, 64, 127, 128, 255, 256, 4096, i32::MAX as i64];

/// Makes programs and changes them.
#[derive(Debug)]
pub struct Mutator {
    /// Requests of the device.
    pub requests: RangeInclusive<u32>,
    /// Bytes that an argument points to.
    pub memory: usize,
    /// Samples of memory to begin with, of that length.
    pub samples: Vec<Vec<u8>>,
}

impl Mutator {
    /// A program of one request.
    pub fn program(&self, rng: &mut Rng) -> Program {
        Program { requests: vec![self.request(rng)] }
    }

    fn request(&self, rng: &mut Rng) -> Request {
        Request { number: rng.u32(self.requests.clone()), argument: self.argument(rng) }
    }

    fn argument(&self, rng: &mut Rng) -> Argument {
        if rng.bool() { self.value(rng) } else { self.memory(rng) }
    }

    fn value(&self, rng: &mut Rng) -> Argument {
        Argument::Value(rng.u64(..).to_ne_bytes())
    }

    fn memory(&self, rng: &mut Rng) -> Argument {
        match rng.choice(&self.samples) {
            Some(sample) if rng.bool() => Argument::Memory(sample.clone()),
            // Random, not zeroes: what is compared is found again by its value.
            _ => Argument::Memory((0..self.memory).map(|_| rng.u8(..)).collect()),
        }
    }

    /// A copy with a value in place of an address, or the other way round.
    pub fn with_other_kind(&self, program: &Program, place: usize, rng: &mut Rng) -> Program {
        let mut changed = program.clone();
        if let Some(Request { argument, .. }) = changed.requests.get_mut(place) {
            *argument = match argument {
                Argument::Value(_) => self.memory(rng),
                Argument::Memory(_) => self.value(rng),
            };
        }
        changed
    }

    /// A changed copy of `program`; `other` is one to take parts of.
    pub fn mutate(&self, program: &Program, other: &Program, rng: &mut Rng) -> Program {
        let mut changed = program.clone();
        // Mostly one change, now and then many.
        loop {
            self.change(&mut changed.requests, other, rng);
            if rng.bool() {
                return changed;
            }
        }
    }

    fn change(&self, requests: &mut Vec<Request>, other: &Program, rng: &mut Rng) {
        let place = rng.usize(..requests.len());
        match rng.u8(..19) {
            0 if requests.len() < MOST_REQUESTS => {
                requests.insert(rng.usize(..=requests.len()), self.request(rng));
            }
            // Often: what one request prepares another may need.
            1..=4 if requests.len() + other.requests.len() <= MOST_REQUESTS => {
                requests.splice(place..place, other.requests.iter().cloned());
            }
            5 if requests.len() > 1 => {
                requests.remove(place);
            }
            6 => requests[place].number = rng.u32(self.requests.clone()),
            7 => requests[place].argument = self.argument(rng),
            _ => change_bytes(requests[place].argument.bytes_mut(), rng),
        }
    }
}

fn change_bytes(bytes: &mut [u8], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let place = rng.usize(..bytes.len());
    match rng.u8(..5) {
        0 => bytes[place] ^= 1 << rng.u8(..8),
        1 => bytes[place] = rng.u8(..),
        2 => bytes[place] = 0,
        3 => bytes[place] = bytes[place].wrapping_add_signed(rng.i8(-8..=8)),
        _ => {
            let value = INTERESTING[rng.usize(..INTERESTING.len())].to_ne_bytes();
            let length = (1 << rng.usize(..4)).min(bytes.len() - place);
            bytes[place..place + length].copy_from_slice(&value[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_stay_within_their_bounds() {
        let mutator = Mutator { requests: 3..=5, memory: 16, samples: vec![vec![1; 16]] };
        let mut rng = Rng::with_seed(1);
        let mut program = mutator.program(&mut rng);
        for _ in 0..10_000 {
            let other = mutator.program(&mut rng);
            program = mutator.mutate(&program, &other, &mut rng);
            assert!((1..=MOST_REQUESTS).contains(&program.requests.len()));
            for request in &program.requests {
                assert!((3..=5).contains(&request.number));
                assert!([8, 16].contains(&request.argument.bytes().len()));
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_programs() {
        let mutator = Mutator { requests: 3..=5, memory: 16, samples: Vec::new() };
        let made = |seed| {
            let mut rng = Rng::with_seed(seed);
            let program = mutator.program(&mut rng);
            mutator.mutate(&program, &program, &mut rng)
        };
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }
}
