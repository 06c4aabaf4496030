//! What tenants do.

use crate::client;
use anyhow::Result;
use std::path::PathBuf;

/// The purpose of a long-lived broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Hostile tenants, with few calls traced.
    Hostile,
    /// Real clients, with all calls traced.
    Clients,
    /// Correct clients whose workers are killed.
    Killed,
}

impl Theme {
    /// The theme of broker `number`.
    #[must_use]
    pub fn in_turn(number: usize) -> Self {
        [Theme::Hostile, Theme::Clients, Theme::Killed][number % 3]
    }

    /// The value of `--trace`.
    #[must_use]
    pub fn trace(self) -> &'static str {
        match self {
            Theme::Hostile | Theme::Killed => "kcov,mmap,getppid,lseek",
            Theme::Clients => "every",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Theme::Hostile => "hostile",
            Theme::Clients => "clients",
            Theme::Killed => "killed",
        }
    }

    /// The theme of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Theme::Hostile, Theme::Clients, Theme::Killed].into_iter().find(|theme| theme.name() == name)
    }

    /// The acts of this theme. `ID` stands for a number that no other act has.
    #[must_use]
    pub fn acts(self) -> &'static [Act] {
        match self {
            Theme::Hostile => HOSTILE,
            Theme::Clients => CLIENTS,
            Theme::Killed => KILLED,
        }
    }
}

/// A C client with its arguments.
pub type Act = &'static [&'static str];

const HOSTILE: &[Act] = &[
    &["soak_pattern", "ID", "2", "strict"],
    &["soak_pattern", "ID", "5", "strict"],
    &["life_cycle", "300"],
    &["gvisor_kcov"],
    &["pattern_children", "20"],
    &["pattern_threads", "20"],
    &["pattern_descriptors"],
    &["hostile_files"],
    &["hostile_headers", "100"],
    &["hostile_swap", "3000"],
    &["hostile_tasks", "20"],
    &["hostile_signals", "restart", "200"],
    &["hostile_signals", "interrupt", "200"],
    &["hostile_filters"],
    &["hostile_ptrace", "step"],
    &["hostile_ptrace", "interrupt"],
    &["hostile_ptrace", "stop"],
    &["hostile_uring"],
    &["open_copies", "3"],
    &["open_flags"],
    &["open_ways", "every"],
    &["open_ways", "replace", "200"],
    &["open_ways", "shrink", "200"],
    &["hostile_fuse"],
    &["hostile_fdinfo", "300"],
    &["hostile_exhaust", "fds"],
    &["hostile_exhaust", "maps"],
    &["abandon", "50"],
    &["odd_tasks", "50"],
    &["refused_opens", "300"],
    &["refused_maps", "300"],
    &["i386_calls"],
    &["ns_cycle", "here"],
    &["ns_cycle", "nest", "2"],
    &["syz_probe"],
];

const CLIENTS: &[Act] = &[
    &["soak_pattern", "ID", "2", "strict"],
    &["soak_pattern", "ID", "5", "strict"],
    &["life_cycle", "100"],
    &["gvisor_kcov"],
    &["pattern_children", "10"],
    &["pattern_threads", "10"],
    &["pattern_descriptors"],
    &["threads"],
    &["syz_programs", "20"],
    &["syz_probe"],
    &["syz_reset", "500"],
    &["syz_device"],
    &["syz_abuse"],
    &["syz_trace", "pc"],
    &["syz_trace", "cmp"],
    &["syz_sandbox", "setuid", "-"],
    &["syz_sandbox", "namespace", "-"],
    &["cmp_trace"],
    &["undumpable"],
    &["open_copies", "1"],
    &["odd_tasks", "20"],
    &["refused_opens", "100"],
    &["i386_calls"],
    &["ns_cycle", "nest", "2"],
];

const KILLED: &[Act] = &[&["soak_pattern", "ID", "2", "tolerant"], &["soak_pattern", "ID", "5", "tolerant"]];

/// Acts that need a separate broker, with its options; `ROOTLESS` starts it as an ordinary user would.
pub const BESIDE: &[(Act, &[&str])] = &[
    (&["hostile_exhaust", "opens", "2500", "2000"], &["--max-instances", "2000"]),
    (&["hostile_exhaust", "area"], &["--max-area", "1M"]),
    (&["hostile_exhaust", "total", "1024", "9"], &["--max-total", "64K"]),
    (&["syz_probe"], &["--extensions", "reset-by-any"]),
    (&["life_cycle", "200"], &["--deadline", "500ms"]),
    (&["hostile_stuck", "remote"], &["--deadline", "500ms"]),
    (&["hostile_stuck", "mmap"], &["--deadline", "500ms"]),
    (&["hostile_stuck", "fuse-remote"], &["--deadline", "500ms"]),
    (&["hostile_stuck", "fuse-mmap"], &["--deadline", "500ms"]),
    (&["life_cycle", "200"], &[ROOTLESS]),
    (&["undumpable"], &[ROOTLESS]),
    (&["open_copies", "3"], &[ROOTLESS]),
    (&["hostile_tasks", "20"], &[ROOTLESS]),
    (&["pattern_descriptors"], &[ROOTLESS, "--map-root"]),
];

/// Not an option: runs the broker as root of a user namespace that maps no other user, and so as an ordinary
/// user.
pub const ROOTLESS: &str = "rootless";

/// Builds every client. Returns their directory.
///
/// # Errors
/// When a client does not compile.
pub fn build() -> Result<PathBuf> {
    let lists = [HOSTILE, CLIENTS, KILLED].into_iter().flatten().chain(BESIDE.iter().map(|(act, _)| act));
    let mut programs =
        lists.filter_map(|act| act.first()).map(|name| client(name)).collect::<Result<Vec<_>>>()?;
    let mut program = programs.pop().unwrap_or_default();
    program.pop();
    Ok(program)
}
