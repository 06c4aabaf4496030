//! Where all of this crate's unsafe code is.

pub mod bench;
pub mod crash;
pub mod fork;
pub mod jail;
pub mod library;
pub mod listener;
pub mod modules;
pub mod recording;
pub mod shared;
pub mod socket;
