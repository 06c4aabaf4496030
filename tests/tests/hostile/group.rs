//! A cgroup that a test creates for itself.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted: the unified hierarchy, or a directory for each controller.
const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup. Dropping it removes the cgroup once its processes have ended.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    unified: bool,
}

impl Group {
    /// Creates a cgroup under `controller`; `None` if this machine does not permit it.
    pub fn new(controller: &str, name: &str) -> Option<Self> {
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let above = if unified { PathBuf::from(ROOT) } else { Path::new(ROOT).join(controller) };
        let path = above.join(format!("kcov-tests-{name}-{}", std::process::id()));
        if unified {
            // The unified hierarchy has a freezer in every group.
            let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        fs::create_dir(&path).ok()?;
        Some(Group { path, unified })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a limit, whose name differs between the two hierarchies.
    pub fn limit(&self, unified: &str, legacy: &str, value: &str) -> Result<()> {
        let file = self.path.join(if self.unified { unified } else { legacy });
        fs::write(&file, value).with_context(|| format!("{value} to {}", file.display()))
    }

    /// Moves a process into the cgroup.
    pub fn take(&self, process: i32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string()).context("a process into its cgroup")
    }

    /// Freezes or thaws its processes.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let (unified, legacy) = if frozen { ("1", "FROZEN") } else { ("0", "THAWED") };
        self.limit("cgroup.freeze", "freezer.state", if self.unified { unified } else { legacy })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // In the version 1 hierarchy a frozen process cannot be killed.
        let _ = self.freeze(false);
        for _ in 0..1000 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
