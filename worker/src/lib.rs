//! The unprivileged side of kcov-broker: a worker receives a tenant's system calls, runs handlers that play
//! the kernel for them, and writes the coverage of the handlers to the caller's KCOV area.
//!
//! There are two kinds of readers of this page. To write a handler, read [`handler`], try it in the
//! [`harness`], and skip the rest. To change the worker itself, read on.
//!
//! # Processes
//! For each tenant the broker starts the program `kcov-worker`, or a program of the user that calls [`main`],
//! as a *zygote*. The zygote loads the handlers, confines itself ([`jail`]) and forks *workers* when the
//! broker asks ([`zygote`]). A worker has a uid of its own tenant, no capabilities, its own namespaces with
//! an empty root, and a seccomp allow-list. Its descriptors are the tenant's seccomp listener, sockets to the
//! broker and to the reader (the process that reads the tenant's memory), and some shared memory. Handler
//! code runs only in workers, so a crash or a compromise affects only this tenant.
//!
//! # How a worker serves a notification
//! 1. [`serve`] receives the notification from the listener into the slot, a page that the broker can read.
//! 2. [`dispatch`] looks the caller up in the roster. If the caller collects coverage, its area is enabled
//!    for recording.
//! 3. [`dispatch`] asks each [`service`] in order, until one handles the call: the user's handlers
//!    ([`handlers`]), the KCOV device ([`device`]), and last [`trace`], which records the call and lets the
//!    kernel run it.
//! 4. Whatever needs privilege goes through [`assist`]: the broker answers KCOV requests, the reader copies
//!    memory.
//! 5. [`serve`] sends the answer. By then all records are in the area.
//!
//! # Invariants
//! - A worker has one thread and serves one notification at a time. The slot shows the notification from the
//!   moment that the kernel hands it over.
//! - Shared memory is accessed only as `&[AtomicU64]`. Whatever a tenant can write there is checked before
//!   use.
//! - A worker may die at any instruction. The broker then answers the caller: with its own decision if it had
//!   made one, else with `EIO`.
//! - A handler is not a security boundary: compromised handler code can let its own tenant's calls run
//!   natively.
//!
//! # Writing handlers
//! Implement [`handler::Handler`], or pass a closure to [`handler::device`] or [`handler::call`], and call
//! [`main`]. In C, write a library against `include/kcov_handler.h`. The [`harness`] runs a handler in a
//! test, without a tenant and without root.
//!
//! # Recording coverage
//! Handler code records coverage with the macros in [`record`]. Outside a call of a thread that collects
//! coverage they do nothing. Work that a handler does later than the call, or for no call, is recorded in
//! [`remote`] sections.
//!
//! Compiler-instrumented code needs no macros; [`sys::sancov`] is the runtime that it calls. For handlers in
//! Rust, `kcov-broker cargo build` makes a stable rustc instrument the crates of the workspace, but not their
//! dependencies, of which this crate is one. To instrument a single crate without it, pass these flags
//! (`cargo rustc -- FLAGS`):
//!
//! ```text
//! -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
//! -Cllvm-args=-sanitizer-coverage-trace-pc-guard -Cllvm-args=-sanitizer-coverage-pc-table
//! -Cllvm-args=-sanitizer-coverage-trace-compares
//! ```
//!
//! Use either instrumentation or macros in one crate: instrumentation also instruments the code of the
//! macros. A Rust library (`cdylib`) can be instrumented or record through `kcov_host`; the macros work only
//! in worker programs.
#![deny(unsafe_code)]

pub mod arenas;
pub mod assist;
pub mod bench;
pub mod call;
pub mod call_table;
pub mod caller;
pub mod context;
pub mod device;
pub mod dispatch;
pub mod handler;
pub mod handlers;
pub mod harness;
pub mod jail;
pub mod link;
pub mod loading;
pub mod outcome;
pub mod program;
#[macro_use]
pub mod record;
pub mod remote;
pub mod replay;
pub mod serve;
pub mod service;
pub mod stopwatch;
#[expect(unsafe_code, reason = "assembly, C interfaces, signal handlers and shared memory")]
pub mod sys;
pub mod text;
pub mod trace;
pub mod zygote;

pub use call::Call;
pub use kcov_proto::Errno;
pub use program::main;
pub use record::{record_cmp, record_pc};
pub use remote::{remote_start, remote_start_softirq};
