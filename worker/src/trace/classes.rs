//! Classes of arguments: the lists of values that arguments are compared with.

mod argument;
mod files;
mod memory;
mod sockets;
mod tasks;

pub use argument::*;
pub use files::*;
pub use memory::*;
pub use sockets::*;
pub use tasks::*;
