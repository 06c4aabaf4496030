//! What the privileged broker and the unprivileged workers of kcov-broker have in common.
//!
//! Nothing here makes a system call: every module is a pure function of its arguments or of words of
//! memory that are shared between processes, so that all of it can be tested under proptest, loom and Miri.
//!
//! | module | holds |
//! |---|---|
//! | [`abi`] | request codes, limits and `struct kcov_remote_arg` of the kernel's KCOV device |
//! | [`claims`] | what the handlers of a worker program want to handle |
//! | [`device`] | the KCOV device of one tenant as a state machine: who may do what, and with which errno |
//! | [`area`] | the append of PC and comparison records to an area, with the kernel's clamps |
//! | [`cover_map`] | what a whole run covered: a byte a PC, which all workers of a tenant mark |
//! | [`roster`] | the table from thread to armed area: the broker writes, workers read |
//! | [`region`] | the PCs of instrumented code, a region for each module |
//! | [`site`] | coverage sites as they stand in a binary, and the PCs that follow from them |
//! | [`slot`] | the words in which a worker shows what it has in flight |
//! | [`journal`] | what a worker leaves for whoever asks why it died |
//! | [`latency`] | how long notifications take, as a histogram |
//! | [`bucket`] | a token bucket in one word, which several processes take from |
//! | [`quota`] | what a tenant may have at most, and how often it asked for more |
//! | [`tally`] | what workers count, added up |
//! | [`view`] | the segment in which a broker shows an operator what it does |
//! | [`message`] | requests and answers on the sockets, their encoding and bounds |
//!
//! The privileged side treats whatever a worker can write (a slot, a message) as an allegation, and a worker
//! treats whatever a tenant can write (an area) the same way.
#![forbid(unsafe_code)]

pub mod abi;
pub mod area;
pub mod bucket;
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
pub mod site;
pub mod slot;
pub mod sync;
pub mod tally;
pub mod view;

pub use errno::Errno;
