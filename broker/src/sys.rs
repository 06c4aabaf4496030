//! Where all of this crate's unsafe code is: system calls that no safe wrapper has, and shared memory.

pub mod access_list;
pub mod alarm;
pub mod bench;
pub mod descriptor;
pub mod filter;
pub mod fork;
pub mod inode_flags;
pub mod listener;
pub mod memfd;
pub mod mount;
pub mod named_socket;
pub mod pidfd;
pub mod poller;
pub mod privilege;
pub mod process;
pub mod procfs;
pub mod segment;
pub mod shared;
pub mod socket;
pub mod title;
pub mod trial;
