//! Processes as `/proc` shows them. Any of them may end between two looks: that is `None`, never an error.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process by its number. The number may be taken by another one once the process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(pub i32);

impl Process {
    /// All processes but kernel threads and zombies.
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

    /// Its program, by the path that it was started with; `None` for zombies.
    #[must_use]
    pub fn executable(self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// Its name (`comm`).
    #[must_use]
    pub fn name(self) -> Option<String> {
        Some(fs::read_to_string(self.path("comm")).ok()?.trim_end().to_owned())
    }

    /// Whether its environment, as it was at its exec, has `entry` (`NAME=value`).
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

    /// Its children, those that ended and that it has not reaped among them.
    #[must_use]
    pub fn children(self) -> Option<Vec<Process>> {
        let text = fs::read_to_string(self.path(&format!("task/{}/children", self.0))).ok()?;
        Some(text.split_whitespace().filter_map(|number| number.parse().ok().map(Process)).collect())
    }

    /// Whether it lives, and has not merely not been reaped.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let stat = fs::read_to_string(self.path("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Where its descriptors lead.
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

    /// Owner of its files in `/proc`: root for a process that is not dumpable, whoever it runs as.
    #[must_use]
    pub fn proc_owner(self) -> Option<u32> {
        fs::metadata(self.path("status")).ok().map(|meta| meta.uid())
    }

    /// Whether it runs a program under `directory`.
    #[must_use]
    pub fn runs_from(self, directory: &Path) -> bool {
        self.executable().is_some_and(|path| path.starts_with(directory))
    }

    /// Whether `ancestor` is among its parents.
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
