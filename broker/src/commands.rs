//! The subcommands of `kcov-broker` that are not a room of their own: a file or a folder for each.

pub mod bench;
pub mod cargo;
pub mod cover;
pub mod doctor;
pub mod manual;
pub mod replay;
pub mod run;
