//! Artifacts: what is kept of a handler that crashed or hung.
//!
//! An artifact is a folder, one for each place in the code: `artifact.json` for programs, `report.txt` for people,
//! `events.bin` for [`replay`](crate::replay), `output.txt` with what the worker wrote. The broker says what it knows
//! ([`Facts`]); a process of its own, which the spawner forks, reads the dead worker's journal, finds functions and
//! lines, and writes the folder: the broker itself opens no file.

mod frames;
mod write;

pub use frames::Frame;
pub use write::{Artifact, serve};

use kcov_proto::journal::Journal;
use kcov_proto::message::LoadedModule;
use kcov_proto::site::fnv1a;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Bytes of a worker's output that are kept: the last ones.
pub const OUTPUT: usize = 16 * 1024;
/// Frames that tell one place from another.
const TELLING: usize = 6;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// The module that an address lies in, and the address in its file.
fn place(address: u64, modules: &[LoadedModule]) -> Option<(&LoadedModule, u64)> {
    let module = modules.iter().find(|module| (module.start..module.end).contains(&address))?;
    Some((module, address.wrapping_sub(module.bias)))
}

/// The name of the folder for a worker that ended this way: the same for the same place in the code.
///
/// Of a hang, the innermost frame says where in the loop it happened to be, and does not count.
#[must_use]
pub fn name(end: End, journal: &Journal, modules: &[LoadedModule]) -> String {
    let first = usize::from(end == End::Hang && journal.stack.len() > 1);
    let mut telling = end.name();
    for address in journal.stack.iter().skip(first).take(TELLING) {
        match place(*address, modules) {
            Some((module, offset)) => telling += &format!(" {}+{offset:x}", module.path),
            None => telling += " ?",
        }
    }
    format!("{}-{:016x}", end.name(), fnv1a(telling.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::message::ModulePcs;

    fn modules() -> Vec<LoadedModule> {
        vec![LoadedModule {
            path: "/a".into(),
            start: 0x1000,
            end: 0x2000,
            bias: 0x800,
            pcs: ModulePcs::None,
        }]
    }

    fn journal(stack: &[u64]) -> Journal {
        Journal { stack: stack.to_vec(), ..Journal::default() }
    }

    #[test]
    fn the_same_place_has_the_same_name_wherever_it_is_loaded() {
        let moved = vec![LoadedModule {
            path: "/a".into(),
            start: 0x5000,
            end: 0x6000,
            bias: 0x4800,
            pcs: ModulePcs::None,
        }];
        let crash = End::Signal(11);
        let one = name(crash, &journal(&[0x1100, 0x1200]), &modules());
        assert_eq!(one, name(crash, &journal(&[0x5100, 0x5200]), &moved));
        assert_ne!(one, name(crash, &journal(&[0x1101, 0x1200]), &modules()));
        assert_ne!(one, name(End::Signal(6), &journal(&[0x1100, 0x1200]), &modules()));
        assert!(one.starts_with("SIGSEGV-"), "{one}");
    }

    #[test]
    fn a_hang_is_told_by_the_callers_of_the_loop() {
        let at = |inner| name(End::Hang, &journal(&[inner, 0x1200]), &modules());
        assert_eq!(at(0x1100), at(0x1104));
    }

    #[test]
    fn names_are_names_of_files() {
        for end in [End::Signal(6), End::Signal(77), End::Exit(3), End::Hang] {
            let name = name(end, &journal(&[u64::MAX; 70]), &[]);
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        }
    }
}
