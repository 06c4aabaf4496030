//! Harness of the tests. It runs the product as its users do: `kcov-broker run -- COMMAND`, with C clients of
//! the KCOV device as COMMAND. Tests judge only by what an operator can see: exit status, output, report,
//! log, `/proc`.
//!
//! | module | purpose |
//! |---|---|
//! | [`architecture`] | the shape of the source tree: imports, unsafe code, lengths |
//! | [`attack`] | the attacks of `tests/attacks` |
//! | [`binaries`] | the programs under test, built once for each test program |
//! | [`mod@client`] | the C clients of `tests/clients` and `tests/conformance`, compiled once for each test
//! program |
//! | [`instrumented`], [`package`] | handlers built by each compiler; packages with a worker program |
//! | [`session`] | a directory with links to the programs, which identify the processes of one run |
//! | [`run`], [`outcome`] | starts a run and waits for it with a deadline; its results |
//! | [`ordinary`] | runs of an ordinary user |
//! | [`service`] | starts a service with a configuration and sends it an operator's orders |
//! | [`process`] | processes as `/proc` shows them |
//! | [`realtime`] | work that must run on time on a busy machine |
//! | [`coverage`] | the coverage report of `kcov-broker cover` |
//! | [`steps`] | drives a process from one system call to the next and kills it at one of them |
//! | [`control`] | words shared with a client, so that both act in an agreed order |
//! | [`live`] | the output of the live view |
//! | [`report`], [`event`] | the report and the log of a run |
//! | [`terminal`] | a pseudo-terminal with a session on it |
//! | [`soak`] | random tenants against long-lived brokers, the program `kcov-soak` |
//! | [`transcript`] | transcripts of the conformance program, compared point by point |
//!
//! Invariants: nothing waits without a deadline. A session that ends, by success or panic, leaves none of its
//! processes alive. No test judges by speed; deadlines only end what hangs.
//!
//! The tests need root because the broker does. Without root they fail; they are never skipped.
#![forbid(unsafe_code)]

pub mod architecture;
pub mod attack;
pub mod binaries;
pub mod client;
pub mod control;
pub mod coverage;
pub mod event;
pub mod instrumented;
pub mod live;
pub mod ordinary;
pub mod outcome;
pub mod package;
pub mod process;
pub mod realtime;
pub mod report;
pub mod run;
pub mod service;
pub mod session;
pub mod soak;
pub mod steps;
pub mod terminal;
pub mod transcript;
pub mod wait;

pub use client::{client, library};
pub use control::Control;
pub use outcome::Outcome;
pub use run::{Run, Running};
pub use session::Session;
pub use wait::until;

/// Returns whether the long variants of the tests are enabled (`KCOV_LONG=1`, `deploy/test --long`).
#[must_use]
pub fn long() -> bool {
    std::env::var_os("KCOV_LONG").is_some_and(|value| value == "1")
}
