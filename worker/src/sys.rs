//! Where all of this crate's unsafe code is.

#[cfg(target_arch = "x86_64")]
mod armed;
pub mod bench;
pub mod crash;
pub mod fork;
pub mod image;
pub mod jail;
pub mod library;
pub mod listener;
pub mod modules;
pub mod recording;
pub mod sancov;
mod sanitizers;
pub mod shared;
pub mod socket;
