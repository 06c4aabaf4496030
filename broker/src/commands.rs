//! The subcommands of `kcov-broker`. Those of other rooms (`serve`, `tenant`, `status`, ...) are defined
//! there.

pub mod artifacts;
pub mod bench;
pub mod cargo;
pub mod cover;
pub mod doctor;
pub mod manual;
pub mod metrics;
pub mod replay;
pub mod run;
pub mod status;
pub mod symbolize;
pub mod top;
