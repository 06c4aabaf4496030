//! Processes as `/proc` shows them. A process may end at any time: the result is then `None`, never an error.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process by its pid. Another process may get the same pid after this one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(pub i32);

impl Process {
    /// All processes except kernel threads and zombies.
    #[must_use]
    pub fn all() -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Process))
            .filter(|process| process.executable().is_some())
            .collect()
    }

    fn path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Path of its program, as it was started; `None` for zombies.
    #[must_use]
    pub fn executable(self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// Its name (`comm`).
    #[must_use]
    pub fn name(self) -> Option<String> {
        Some(fs::read_to_string(self.path("comm")).ok()?.trim_end().to_owned())
    }

    /// Returns whether its environment at its exec had `entry` (`NAME=value`).
    #[must_use]
    pub fn environment_has(self, entry: &str) -> bool {
        let Ok(environment) = fs::read(self.path("environ")) else { return false };
        environment.split(|byte| *byte == 0).any(|one| one == entry.as_bytes())
    }

    /// The fields of `/proc/PID/status`.
    #[must_use]
    pub fn status(self) -> Option<HashMap<String, String>> {
        let text = fs::read_to_string(self.path("status")).ok()?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Some(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// Its parent.
    #[must_use]
    pub fn parent(self) -> Option<Process> {
        self.status()?.get("PPid")?.parse().ok().map(Process)
    }

    /// Its children, including zombies.
    #[must_use]
    pub fn children(self) -> Option<Vec<Process>> {
        let text = fs::read_to_string(self.path(&format!("task/{}/children", self.0))).ok()?;
        Some(text.split_whitespace().filter_map(|number| number.parse().ok().map(Process)).collect())
    }

    /// Returns whether it is alive and not a zombie.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let stat = fs::read_to_string(self.path("stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Targets of its descriptors.
    #[must_use]
    pub fn descriptors(self) -> Option<Vec<PathBuf>> {
        let entries = fs::read_dir(self.path("fd")).ok()?;
        Some(entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect())
    }

    /// Soft limits by their names in `/proc/PID/limits`, as text.
    #[must_use]
    pub fn limits(self) -> Option<HashMap<String, String>> {
        let text = fs::read_to_string(self.path("limits")).ok()?;
        // Columns: 26 for the name, then the soft limit up to the next blank.
        let limit = |line: &str| {
            let (name, rest) = line.split_at_checked(26)?;
            Some((name.trim().to_owned(), rest.split_whitespace().next()?.to_owned()))
        };
        Some(text.lines().skip(1).filter_map(limit).collect())
    }

    /// Owner of its files in `/proc`: always root for a process that is not dumpable.
    #[must_use]
    pub fn proc_owner(self) -> Option<u32> {
        fs::metadata(self.path("status")).ok().map(|meta| meta.uid())
    }

    /// Returns whether it runs a program under `directory`.
    #[must_use]
    pub fn runs_from(self, directory: &Path) -> bool {
        self.executable().is_some_and(|path| path.starts_with(directory))
    }

    /// Returns whether `ancestor` is its parent or a parent of its parents.
    #[must_use]
    pub fn descends_from(self, ancestor: Process) -> bool {
        let mut process = self;
        while let Some(parent) = process.parent() {
            if parent == ancestor {
                return true;
            }
            process = parent;
        }
        false
    }
}
