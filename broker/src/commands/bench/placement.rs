//! The CPUs that both sides run on.
//!
//! In a virtual machine, waking a process on another CPU costs ten to twenty times as much as on the same
//! CPU, and the scheduler decides. Measurements with different placements cannot be compared.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Where the processes of a comparison run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// All on one CPU. Goals apply to this placement.
    OneCpu,
    /// As the scheduler decides.
    Unpinned,
}

impl Placement {
    /// Heading in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Placement::OneCpu => "everything on one CPU",
            Placement::Unpinned => "unpinned",
        }
    }
}

/// The CPUs that this process may use.
#[derive(Debug)]
pub struct Cpus(CpuSet);

impl Cpus {
    /// Reads the affinity of this process.
    ///
    /// # Errors
    /// Errors of `sched_getaffinity(2)`.
    pub fn available() -> Result<Cpus> {
        Ok(Cpus(sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?))
    }

    /// Moves this process, and processes that it starts later.
    ///
    /// # Errors
    /// Errors of `sched_setaffinity(2)`.
    pub fn place(&self, placement: Placement) -> Result<()> {
        let set = match placement {
            Placement::OneCpu => self.last()?,
            Placement::Unpinned => self.0,
        };
        sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
    }

    /// Number of CPUs.
    #[must_use]
    pub fn count(&self) -> usize {
        (0..CpuSet::count()).filter(|&cpu| self.0.is_set(cpu) == Ok(true)).count()
    }

    /// Only the last CPU, because most machines handle interrupts on the first one.
    fn last(&self) -> Result<CpuSet> {
        let mut one = CpuSet::new();
        let mut cpus = (0..CpuSet::count()).rev();
        let cpu = cpus.find(|&cpu| self.0.is_set(cpu) == Ok(true)).context("no CPU is allowed")?;
        one.set(cpu)?;
        Ok(one)
    }
}
