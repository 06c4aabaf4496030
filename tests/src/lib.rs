//! Harness of the tests that run the product as its users do: `kcov-broker run -- COMMAND`, C clients of the
//! KCOV device as COMMAND, and only what an operator can see (exit status, output, report, log, `/proc`) as
//! evidence.
//!
//! | module | holds |
//! |---|---|
//! | [`binaries`] | the programs under test, built once a test program |
//! | [`mod@client`] | the C clients of `tests/clients` and `tests/conformance`, compiled once a test program |
//! | [`instrumented`], [`package`] | handlers built by each compiler, packages with a worker program of their own |
//! | [`session`] | a directory with links to the programs: by them the processes of one run are known |
//! | [`run`], [`outcome`] | starts a run, waits with a deadline, and what it left behind |
//! | [`ordinary`] | runs of a user who is not root |
//! | [`service`] | starts a service with a configuration, and gives it an operator's orders |
//! | [`process`] | processes as `/proc` shows them |
//! | [`realtime`] | work that has to be done on time on a busy machine |
//! | [`coverage`] | what `kcov-broker cover` says of a run |
//! | [`steps`] | a process driven from one system call to the next, and killed there |
//! | [`control`] | words shared with a client, so that both act in an agreed order |
//! | [`live`] | what the live view shows of a run |
//! | [`report`], [`event`] | the report at the end of a run, and its log |
//! | [`terminal`] | a pseudo-terminal with a session on it |
//! | [`soak`] | random tenants against long-lived brokers, the program `kcov-soak` |
//! | [`transcript`] | transcripts of the conformance program, compared point by point |
//!
//! Invariants: nothing waits without a deadline; a session that ends, by success or by panic, leaves none of
//! its processes alive; no test judges by how fast something was, deadlines are there to end what hangs.
//!
//! The tests need root, because the broker does. Without it they fail; they are never skipped.
#![forbid(unsafe_code)]

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

/// Whether the long variants of the tests were asked for (`KCOV_LONG=1`, `deploy/test --long`).
#[must_use]
pub fn long() -> bool {
    std::env::var_os("KCOV_LONG").is_some_and(|value| value == "1")
}
