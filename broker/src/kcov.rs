//! The KCOV device of one tenant: instances, their arenas, and the threads that own them.

pub mod arena;
pub mod arena_table;
pub mod commons;
pub mod files;
pub mod mark;
pub mod registry;
pub mod threads;
