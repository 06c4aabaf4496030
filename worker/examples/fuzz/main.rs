//! A small coverage-guided fuzzer for devices. It is an ordinary KCOV client and needs no privileges.
//!
//!     kcov-broker run --worker target/release/examples/vault --artifacts crashes --deadline 500ms -- \
//!         target/release/examples/fuzz --device /dev/vault --requests 0x7601-0x7604 --time 60
//!
//! It knows the path of a device and its request codes, and generates sequences of requests ([`program`]). A
//! sequence that covers new code in the device ([`feedback`]) is kept ([`corpus`]) and mutated ([`mutate`]).
//! For each sequence that is kept, the fuzzer also collects comparisons, and puts the values that the device
//! compares with into the input ([`hints`]). A request that fails with `EIO` is a crash or a hang of the
//! device; the fuzzer continues.
//!
//! With `--worker` or `--handler` the same program fuzzes any device, and on a kernel with KCOV it fuzzes a
//! driver.

mod campaign;
mod corpus;
mod device;
mod feedback;
mod hints;
mod kcov;
mod mutate;
mod options;
mod program;
mod report;
#[expect(unsafe_code, reason = "system calls without a safe wrapper")]
mod sys;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = options::Options::parse();
    match campaign::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("fuzz: found fewer crashes than --crashes asks for");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}
