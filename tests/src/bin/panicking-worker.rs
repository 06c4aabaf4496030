//! A worker program for the client of `tests/handlers/faults.c`. Request 0x7100 returns its argument, request
//! 0x7101 panics on it in one place, request 0x7102 in another. Request 0x7103 hangs in a loop that records,
//! 0x7104 panics with a message of several lines and escape sequences.
#![forbid(unsafe_code)]

use kcov_worker::Errno;
use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use std::process::ExitCode;

struct Panics;

impl Handler for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device("/dev/faults", 0x7100..=0x7104)]
    }

    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Ok(Box::new(File))
    }
}

struct File;

impl OpenFile for File {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        let argument = match caller.read_array(arg.wrapping_add(8)) {
            Ok(bytes) => u64::from_ne_bytes(bytes),
            Err(errno) => return Answer::Fail(errno),
        };
        match request {
            0x7100 => Answer::Value(argument.cast_signed()),
            0x7101 => Answer::Value(look_up(argument)),
            0x7102 => Answer::Value(unwrap(argument)),
            0x7103 => spin(),
            _ => panic!("nasty\nkcov-broker: forged\u{1b}[2J\u{9b}2J\u{202e}"),
        }
    }
}

#[inline(never)]
fn look_up(place: u64) -> i64 {
    const TABLE: [i64; 4] = [1, 2, 3, 5];
    TABLE[place as usize]
}

#[inline(never)]
fn unwrap(number: u64) -> i64 {
    i64::from(u8::try_from(number).expect("a small number"))
}

#[inline(never)]
fn spin() -> ! {
    loop {
        kcov_worker::kcov_edge!();
    }
}

fn main() -> ExitCode {
    kcov_worker::main([Box::new(Panics)])
}
