//! The contract between the broker and its workers: types, memory layouts and messages that both sides
//! compile in.
//!
//! A kcov-broker run has two trust levels. The *broker* is privileged: it owns the KCOV device of a *tenant*
//! (the supervised command and its children) and answers its KCOV requests. A *worker* is unprivileged: it
//! receives the tenant's system calls as seccomp notifications, runs handler code and appends coverage
//! records. The two are different programs in different processes, so everything that they must agree on is
//! defined here and nowhere else.
//!
//! # The life of one traced call
//! 1. The kernel copies the notification into the worker's [`slot`], a page that the broker can read. If the
//!    worker dies, the broker knows from the slot which caller still waits for an answer.
//! 2. The worker looks up the calling thread in the [`roster`], a table in which the broker lists every
//!    thread that has enabled a KCOV instance, with the [`device::ArenaId`] of its area.
//! 3. Handler code runs. Each coverage [`site`] or instrumented point ([`region`]) has a fixed PC. The worker
//!    appends it to the [`area`] that the client has mapped, and marks it in the [`cover_map`] of the run.
//! 4. If the call needs privilege (a KCOV request, access to the caller's memory), the worker sends a
//!    [`message`]. The broker decides with the [`device`] state machine and replies.
//! 5. What the handler did is logged in the [`journal`], which the broker reads only after a crash.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`abi`] | request codes, limits and `struct kcov_remote_arg` of the kernel's KCOV device |
//! | [`errno`] | error numbers, with their names |
//! | [`device`] | the KCOV device of one tenant as a state machine: who may do what, and with which errno |
//! | [`area`] | appending PC and comparison records to a client's area, with the kernel's bounds |
//! | [`cover_map`] | every PC that a run has covered, one byte for each |
//! | [`site`] | coverage sites in a binary, and the rule for their PCs |
//! | [`region`] | the rule for the PCs of compiler-instrumented code |
//! | [`claims`] | which calls and devices the handlers of a worker program handle |
//! | [`unique`] | the bitmap of unique collection, in front of the records |
//! | [`trace_calls`] | finds the instrumented points of code that has no table of them |
//! | [`roster`] | shared table from thread to enabled area: the broker writes, workers read |
//! | [`slot`] | shared page of one worker: the notification in flight, and counters |
//! | [`journal`] | shared log of one worker: what its handlers did, for crash artifacts |
//! | [`view`] | the page in which a broker publishes its counters for `kcov-broker top` |
//! | [`tally`], [`latency`] | sums of the workers' counters, and a histogram of call times |
//! | [`quota`], [`token_bucket`] | limits of a tenant, and a rate limiter in one shared word |
//! | [`message`] | messages on the sockets, their encoding and size limits |
//! | [`sync`] | the atomic types of the shared memory, replaced by loom's in model checks |
//!
//! # Rules
//! - No module makes a system call. Each is a pure function of its arguments, or of shared words that the
//!   caller passes in. So all of it runs under proptest, loom and Miri.
//! - Input from a less trusted side is an *allegation*: the broker treats all that a worker can write (slot,
//!   journal, message) as untrusted, and a worker treats all that a tenant can write (its area) the same way.
//!   Each word is read once, checked, then used.
//! - A change of a layout or message needs no compatibility code: broker and worker come from one build. Only
//!   a [`view`] has a version number, because other programs may read it.
#![forbid(unsafe_code)]

pub mod abi;
pub mod area;
pub mod claims;
pub mod cover_map;
pub mod device;
pub mod errno;
pub mod journal;
pub mod latency;
pub mod message;
pub mod quota;
pub mod region;
pub mod roster;
pub mod sections;
pub mod site;
pub mod slot;
pub mod sync;
pub mod tally;
pub mod token_bucket;
pub mod trace_calls;
pub mod unique;
pub mod view;

pub use errno::Errno;
