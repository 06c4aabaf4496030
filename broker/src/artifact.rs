//! Artifacts: what is kept of a handler that crashed or hung.
//!
//! An artifact is a folder, one for each place in the code: `artifact.json` for programs, `report.txt` for people,
//! `events.bin` for [`replay`](crate::commands::replay), `output.txt` with what the worker wrote, `sightings.json` with how often
//! it was seen. The broker says what it knows ([`Facts`]); a process of its own, which the spawner forks, reads the dead
//! worker's journal, finds functions and lines, and writes the folder: the broker itself opens no file.
//!
//! | module | holds |
//! |---|---|
//! | [`place`] | the name of a folder: the same for the same place in the code |
//! | [`mod@write`] | the writer's side: a folder is there whole, or not at all |
//! | [`record`] | `artifact.json` |
//! | `report` | `report.txt` |
//! | [`frames`] | from addresses to functions and lines, in stacks and in what sanitizers print |
//! | [`build`] | which build of a program or library it was |
//! | [`store`] | the folder of folders: its bounds, its lock, its list |

pub mod build;
pub mod frames;
pub mod list;
pub mod place;
pub mod record;
mod report;
pub mod store;
pub mod write;

use kcov_proto::message::LoadedModule;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Bytes of a worker's output that are kept: the last ones.
pub const OUTPUT: usize = 16 * 1024;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By this signal.
    Signal(i32),
    /// With this exit status.
    Exit(i32),
    /// It did not answer within the deadline.
    Hang,
}

impl End {
    /// For names of folders and messages.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            End::Signal(number) => Signal::try_from(number)
                .map_or_else(|_| format!("signal-{number}"), |signal| signal.to_string()),
            End::Exit(status) => format!("exit-{status}"),
            End::Hang => "hang".to_owned(),
        }
    }
}

/// What the broker knows of a worker that died over a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Name of the folder.
    pub name: String,
    /// How it ended.
    pub end: End,
    /// Calling thread.
    pub tid: u32,
    /// Name of the call.
    pub call: String,
    /// Paths of the handlers' devices, by their number.
    pub devices: Vec<String>,
    /// The last that the worker wrote to its standard output and error.
    pub output: Vec<u8>,
    /// What was loaded.
    pub modules: Vec<LoadedModule>,
    /// When, seconds since 1970.
    pub when: u64,
}

/// The module that an address lies in, and the address in its file.
fn place_of(address: u64, modules: &[LoadedModule]) -> Option<(&LoadedModule, u64)> {
    let module = modules.iter().find(|module| (module.start..module.end).contains(&address))?;
    Some((module, address.wrapping_sub(module.bias)))
}
