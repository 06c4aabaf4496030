//! Random mutation of programs.

use crate::program::{Argument, MAX_REQUESTS, Program, Request};
use fastrand::Rng;
use std::ops::RangeInclusive;

/// Values at which programs often branch.
const INTERESTING: [i64; 12] = [0, 1, -1, 7, 16, 64, 127, 128, 255, 256, 4096, i32::MAX as i64];

/// Generates and mutates programs.
#[derive(Debug)]
pub struct Mutator {
    /// Request codes of the device.
    pub requests: RangeInclusive<u32>,
    /// Size in bytes of the memory that an argument points to.
    pub memory: usize,
    /// Initial contents of that memory, each of that size.
    pub samples: Vec<Vec<u8>>,
}

impl Mutator {
    /// A random program of one request.
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
            // Random bytes, not zeros: a compared value can then be located in the input.
            _ => Argument::Memory((0..self.memory).map(|_| rng.u8(..)).collect()),
        }
    }

    /// A copy with the other kind of argument at one place: a value, or the address of memory.
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

    /// A mutated copy of `program`, which may take requests from `other`.
    pub fn mutate(&self, program: &Program, other: &Program, rng: &mut Rng) -> Program {
        let mut changed = program.clone();
        // Usually one change, sometimes many.
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
            0 if requests.len() < MAX_REQUESTS => {
                requests.insert(rng.usize(..=requests.len()), self.request(rng));
            }
            // More likely than others: one request may prepare for another.
            1..=4 if requests.len() + other.requests.len() <= MAX_REQUESTS => {
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
    fn programs_stay_within_limits() {
        let mutator = Mutator { requests: 3..=5, memory: 16, samples: vec![vec![1; 16]] };
        let mut rng = Rng::with_seed(1);
        let mut program = mutator.program(&mut rng);
        for _ in 0..10_000 {
            let other = mutator.program(&mut rng);
            program = mutator.mutate(&program, &other, &mut rng);
            assert!((1..=MAX_REQUESTS).contains(&program.requests.len()));
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
