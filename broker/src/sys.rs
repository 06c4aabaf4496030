//! All unsafe code of this crate: system calls that have no safe wrapper, and shared memory.
//!
//! The system calls that the workers make as well are in [`kcov_sys`], from which some modules come.

pub mod alarm;
pub mod bench;
pub mod descriptor;
pub mod file;
pub mod filter;
pub mod listener;
pub mod memfd;
pub mod mount;
pub mod named_socket;
pub mod path_lookup;
pub mod pidfd;
pub mod plain_file;
pub mod poller;
pub mod process;
pub mod procfs;
pub mod segment;
pub mod shared;
pub mod standard_error;
pub mod title;

pub use kcov_sys::{fork, privilege, socket};
