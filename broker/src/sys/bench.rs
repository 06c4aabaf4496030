//! System calls of the benchmark: the listener of the bare supervisor, and a client's view of a KCOV device.

pub mod device;
pub mod listener;
pub mod memory;
