//! A device with three bugs, as a target for a fuzzer.
//!
//!     cargo build --release --example vault --example fuzz
//!     kcov-broker run --worker target/release/examples/vault --artifacts crashes --deadline 500ms -- \
//!         target/release/examples/fuzz --device /dev/vault --requests 0x7601-0x7604
//!
//! | request | argument | bug |
//! |---|---|---|
//! | `PUT` | points to a [`Deposit`] | the length check allows more than a drawer holds |
//! | `DIAL` | mark, position and step | a step of 0 loops forever |
//! | `KNOCK` | a magic number | |
//! | `UNLOCK` | points to a [`Key`] | panics after the right knock, word, PIN and seal |
//!
//! The magic numbers of `KNOCK` and `UNLOCK` cannot be guessed: a fuzzer must use the comparisons.

use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use kcov_worker::{Errno, kcov_cmp, kcov_edge};
use std::process::ExitCode;

const PUT: u32 = 0x7601;
const DIAL: u32 = 0x7602;
const KNOCK: u32 = 0x7603;
const UNLOCK: u32 = 0x7604;

/// Size of a drawer in bytes.
const DRAWER: usize = 48;
/// Largest deposit in bytes.
const MAX_DEPOSIT: u32 = 64;
/// Number of positions of the dial.
const POSITIONS: u8 = 100;

/// Upper half of the argument of `DIAL`.
const MARK: u32 = 0x6d61_726b;
const KNOCKING: u64 = 0x746f_6374_6f63_746f;
const WORD: u32 = 0x7365_7361;
const PIN: u64 = 0x3141_5926_5358_9793;

struct Vault;

impl Handler for Vault {
    fn name(&self) -> &str {
        "vault"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device("/dev/vault", PUT..=UNLOCK)]
    }

    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        kcov_edge!();
        Ok(Box::new(Visit::default()))
    }
}

/// An open file.
struct Visit {
    drawers: [[u8; DRAWER]; 4],
    knocked: bool,
}

impl Default for Visit {
    fn default() -> Self {
        Visit { drawers: [[0; DRAWER]; 4], knocked: false }
    }
}

impl OpenFile for Visit {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        match request {
            PUT => self.put(arg, caller).into(),
            DIAL => dial(arg).into(),
            KNOCK => self.knock(arg).into(),
            UNLOCK => self.unlock(arg, caller).into(),
            _ => Answer::Fail(Errno::ENOTTY),
        }
    }
}

/// The argument of `PUT` points to drawer and length, followed by that many bytes.
struct Deposit {
    drawer: u32,
    length: u32,
}

impl Deposit {
    const BYTES: u64 = 8;

    fn read(arg: u64, caller: &mut Caller<'_>) -> Result<Self, Errno> {
        let [a, b, c, d, rest @ ..] = caller.read_array::<8>(arg)?;
        Ok(Deposit { drawer: u32::from_ne_bytes([a, b, c, d]), length: u32::from_ne_bytes(rest) })
    }
}

/// The argument of `UNLOCK` points to this.
struct Key {
    word: u32,
    serial: u32,
    pin: u64,
    seal: u64,
}

impl Key {
    fn read(arg: u64, caller: &mut Caller<'_>) -> Result<Self, Errno> {
        let bytes = caller.read_array::<24>(arg)?;
        let (words, _) = bytes.as_chunks::<8>();
        let [first, pin, seal] = [0, 1, 2].map(|i| u64::from_le_bytes(words[i]));
        Ok(Key { word: first as u32, serial: (first >> 32) as u32, pin, seal })
    }

    /// The seal that belongs to the other fields.
    fn right_seal(&self) -> u64 {
        self.pin.rotate_left(self.serial % 64) ^ u64::from(self.serial)
    }
}

impl Visit {
    fn put(&mut self, arg: u64, caller: &mut Caller<'_>) -> Result<(), Errno> {
        kcov_edge!();
        let Deposit { drawer, length } = Deposit::read(arg, caller)?;
        kcov_cmp!(4, true, self.drawers.len(), drawer);
        let drawer = self.drawers.get_mut(drawer as usize).ok_or(Errno::ENXIO)?;
        kcov_edge!();
        kcov_cmp!(4, true, MAX_DEPOSIT, length);
        if length > MAX_DEPOSIT {
            return Err(Errno::E2BIG);
        }
        kcov_edge!();
        let bytes = caller.read_vec(arg + Deposit::BYTES, length as usize)?;
        // BUG: a drawer holds fewer than MAX_DEPOSIT bytes.
        drawer[..bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    fn knock(&mut self, arg: u64) -> Result<(), Errno> {
        kcov_edge!();
        kcov_cmp!(8, true, KNOCKING, arg);
        if arg != KNOCKING {
            return Err(Errno::EPERM);
        }
        kcov_edge!();
        self.knocked = true;
        Ok(())
    }

    fn unlock(&mut self, arg: u64, caller: &mut Caller<'_>) -> Result<(), Errno> {
        kcov_edge!();
        let key = Key::read(arg, caller)?;
        kcov_cmp!(4, true, WORD, key.word);
        if key.word != WORD {
            return Err(Errno::EINVAL);
        }
        kcov_edge!();
        if !self.knocked {
            return Err(Errno::EPERM);
        }
        kcov_edge!();
        kcov_cmp!(8, true, PIN, key.pin);
        if key.pin != PIN {
            return Err(Errno::EACCES);
        }
        kcov_edge!();
        kcov_cmp!(8, false, key.right_seal(), key.seal);
        if key.seal != key.right_seal() {
            return Err(Errno::EACCES);
        }
        kcov_edge!();
        // BUG: the code for an open door is missing.
        unreachable!("the door is open")
    }
}

fn dial(arg: u64) -> Result<i64, Errno> {
    kcov_edge!();
    let (mark, mut position, step) = ((arg >> 32) as u32, (arg >> 8) as u8, arg as u8);
    kcov_cmp!(4, true, MARK, mark);
    if mark != MARK {
        return Err(Errno::EINVAL);
    }
    kcov_edge!();
    kcov_cmp!(1, true, POSITIONS, position);
    let mut turns = 0;
    // BUG: a step of 0 loops forever.
    while position < POSITIONS {
        kcov_edge!();
        position = position.saturating_add(step);
        turns += 1;
    }
    Ok(turns)
}

fn main() -> ExitCode {
    kcov_worker::main([Box::new(Vault)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_worker::harness::{FileHandle, Harness};

    fn tenant() -> (Harness, FileHandle) {
        let mut tenant = Harness::new(Vault).expect("claims");
        let file = tenant.open("/dev/vault", 0).expect("open");
        (tenant, file)
    }

    fn deposit(drawer: u32, length: u32) -> Vec<u8> {
        [drawer.to_ne_bytes(), length.to_ne_bytes()].concat().into_iter().chain([7; 64]).collect()
    }

    fn key(pin: u64, seal: u64) -> Vec<u8> {
        [u64::from(WORD), pin, seal].map(u64::to_le_bytes).concat()
    }

    #[test]
    fn requests_are_answered() {
        let (mut tenant, file) = tenant();
        let mut ask = |request, arg| tenant.ioctl(file, request, arg).answer;
        assert_eq!(ask(DIAL, 5), Answer::Fail(Errno::EINVAL));
        assert_eq!(ask(DIAL, u64::from(MARK) << 32 | 25), Answer::Value(4));
        assert_eq!(ask(KNOCK, 5), Answer::Fail(Errno::EPERM));
        assert_eq!(ask(UNLOCK, 5), Answer::Fail(Errno::EFAULT));
        for (bytes, answer) in [
            (deposit(3, DRAWER as u32), Answer::Value(0)),
            (deposit(4, 1), Answer::Fail(Errno::ENXIO)),
            (deposit(0, MAX_DEPOSIT + 1), Answer::Fail(Errno::E2BIG)),
        ] {
            let address = tenant.map_bytes(bytes);
            assert_eq!(tenant.ioctl(file, PUT, address).answer, answer);
        }
    }

    #[test]
    #[should_panic(expected = "range end index 64")]
    fn the_length_check_allows_too_much() {
        let (mut tenant, file) = tenant();
        let address = tenant.map_bytes(deposit(0, MAX_DEPOSIT));
        tenant.ioctl(file, PUT, address);
    }

    #[test]
    #[should_panic(expected = "the door is open")]
    fn the_right_key_opens_the_door() {
        let (mut tenant, file) = tenant();
        let address = tenant.map_bytes(key(PIN, PIN));
        assert_eq!(tenant.ioctl(file, UNLOCK, address).answer, Answer::Fail(Errno::EPERM));
        tenant.ioctl(file, KNOCK, KNOCKING);
        for wrong in [key(0, 0), key(PIN, 0)] {
            let wrong = tenant.map_bytes(wrong);
            assert_eq!(tenant.ioctl(file, UNLOCK, wrong).answer, Answer::Fail(Errno::EACCES));
        }
        tenant.ioctl(file, UNLOCK, address);
    }
}
