//! The unprivileged side of kcov-broker: handlers play the kernel for a tenant's calls, and their coverage appears in
//! the caller's KCOV area.
//!
//! # Processes
//! The program `kcov-worker` is started by the broker as a *zygote*, one for each tenant: it loads what handlers need,
//! jails itself ([`jail`]) and forks *workers* on request ([`zygote`]). A worker has a uid of its own tenant's, no
//! capability, namespaces and an empty root of its own, a seccomp allow-list, and the descriptors that it needs: its
//! tenant's listener, a socket to the broker and one to the reader.
//!
//! # The way of one notification
//! [`serve`] receives it into the slot, [`dispatch`] arms the caller's area and picks the [`service`]: the user's
//! handlers ([`handlers`]), the KCOV device ([`device`]), or the trace of all other calls. What needs privilege is asked
//! for ([`assist`]). All records are in the area before [`serve`] sends the answer.
//!
//! # Invariants
//! - One thread, one notification at a time; the slot shows it from the moment that the kernel hands it over.
//! - No reference into shared memory but `&[AtomicU64]`; what the tenant can write there is clamped before use.
//! - A worker may die at any instruction: the broker answers its caller, by what it had decided or with `EIO`.
//! - Handlers are no security policy: a handler that was taken over can let its own tenant's calls go on.
//!
//! # Handlers of your own
//! Implement [`handler::Handler`], or write a closure ([`handler::device`], [`handler::call`]), and call [`main`]; or write a
//! library in C (`include/kcov_handler.h`). Try one without tenant and without root in the [`harness`].
//!
//! # Recording
//! Handler code records coverage with the macros of [`record`]; nothing is armed and nothing recorded outside of a
//! call of a thread that collects.
//!
//! Code that a compiler instruments needs no macro: the runtime that it calls is [`sys::sancov`]. For handlers in Rust,
//! `kcov-broker cargo build` has a stable rustc instrument the crates of the workspace, and neither this crate nor any
//! other dependency. Without it, these flags do the same for a single crate (`cargo rustc -- FLAGS`):
//!
//! ```text
//! -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
//! -Cllvm-args=-sanitizer-coverage-trace-pc-guard -Cllvm-args=-sanitizer-coverage-pc-table
//! -Cllvm-args=-sanitizer-coverage-trace-compares
//! ```
//!
//! Use either instrumentation or macros in a crate: instrumented, the code of a macro has points of its own. A library in
//! Rust (`cdylib`) is instrumented, or records through `kcov_host`: the macros are for worker programs.
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
pub mod loading;
pub mod program;
pub mod record;
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
