//! A small coverage-guided fuzzer for devices: an ordinary KCOV client without any privilege.
//!
//!     kcov-broker run --worker target/release/examples/vault --artifacts crashes --deadline 500ms -- \
//!         target/release/examples/fuzz --device /dev/vault --requests 0x7601-0x7604 --time 60
//!
//! It knows of a device its path and its requests, and makes up sequences of them ([`program`]). What each covers in
//! the device decides whether it is kept ([`feedback`], [`corpus`]) and changed further ([`mutate`]). Of each one that
//! is kept, the comparisons are collected as well: what the device compares with the input is put into the input
//! ([`hints`]). A request that fails with `EIO` is a crash or a hang of the device; the fuzzer goes on.
//!
//! With `--worker` and `--handler` the same program fuzzes any device; on a kernel with KCOV, a driver.

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
            eprintln!("fuzz: fewer crashes than wanted");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}
