//! All unsafe code of this crate, except what it shares with the broker: that is in [`kcov_sys`], from which
//! some modules come.

#[cfg(target_arch = "x86_64")]
mod armed;
pub mod bench;
pub mod buffer;
pub mod crash;
pub mod image;
pub mod library;
pub mod modules;
pub mod recording;
pub mod sancov;
pub mod site;

pub use kcov_sys::{fork, listener, shared, socket};
