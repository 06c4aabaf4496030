//! Crash artifacts: reports about handlers that crashed or hung.
//!
//! An artifact is a folder, one per crash location: `artifact.json` for programs, `report.txt` for people, `events.bin`
//! for [`replay`](crate::commands::replay), `output.txt` with the worker's output, and `sightings.json` with the number
//! of crashes. The broker opens no file: it collects what it knows ([`Facts`]) and has the spawner fork a writer
//! process. The writer reads the dead worker's journal, symbolizes it and writes the folder.
//!
//! | module | purpose |
//! |---|---|
//! | [`place`] | names the folder after the crash location |
//! | [`mod@write`] | writer process: writes a folder atomically |
//! | [`record`] | `artifact.json` |
//! | `report` | `report.txt` |
//! | [`frames`] | symbolizes stacks and the output of sanitizers |
//! | [`build`] | identifies the build of a program or library |
//! | [`store`] | the directory of all artifacts: bounds, lock, list |

pub mod build;
pub mod frames;
pub mod place;
pub mod record;
mod report;
pub mod store;
pub mod write;

use kcov_proto::message::LoadedModule;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Number of bytes kept of a worker's output, from its end.
pub const OUTPUT: usize = 16 * 1024;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Killed by this signal.
    Signal(i32),
    /// Exited with this status.
    Exit(i32),
    /// Killed because it missed the deadline.
    Hang,
    /// Neither the kernel nor the zygote reported how.
    Unknown,
}

impl End {
    /// The name in folder names and messages.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            End::Signal(number) => Signal::try_from(number)
                .map_or_else(|_| format!("signal-{number}"), |signal| signal.to_string()),
            End::Exit(status) => format!("exit-{status}"),
            End::Hang => "hang".to_owned(),
            End::Unknown => "unknown-end".to_owned(),
        }
    }
}

/// What the broker knows about a worker that died while handling a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Name of the artifact's folder.
    pub name: String,
    /// How the worker ended.
    pub end: End,
    /// Thread that made the call.
    pub tid: u32,
    /// Name of the system call.
    pub call: String,
    /// Paths of the handlers' devices, by device number.
    pub devices: Vec<String>,
    /// The end of the worker's standard output and error.
    pub output: Vec<u8>,
    /// Programs and libraries that were loaded.
    pub modules: Vec<LoadedModule>,
    /// Time of the crash, in seconds since 1970.
    pub when: u64,
}

/// Finds the module that contains an address; also returns the address in the module's file.
fn place_of(address: u64, modules: &[LoadedModule]) -> Option<(&LoadedModule, u64)> {
    let module = modules.iter().find(|module| (module.start..module.end).contains(&address))?;
    Some((module, address.wrapping_sub(module.bias)))
}
