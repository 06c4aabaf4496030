//! On which CPUs both sides run.
//!
//! A wake across CPUs of a virtual machine costs ten to twenty times one on the same CPU, and whether it happens
//! is up to the scheduler: figures of unlike placement cannot be compared.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Where the processes of a comparison run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// All on one CPU: the figure that is reported.
    OneCpu,
    /// Wherever the scheduler puts them.
    Unpinned,
}

impl Placement {
    /// As the table heads it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Placement::OneCpu => "everything on one CPU",
            Placement::Unpinned => "unpinned",
        }
    }
}

/// The CPUs that this process was given.
#[derive(Debug)]
pub struct Cpus(CpuSet);

impl Cpus {
    /// Reads them.
    ///
    /// # Errors
    /// Those of `sched_getaffinity(2)`.
    pub fn given() -> Result<Cpus> {
        Ok(Cpus(sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?))
    }

    /// Places this process, and what it starts from here on.
    ///
    /// # Errors
    /// Those of `sched_setaffinity(2)`.
    pub fn place(&self, placement: Placement) -> Result<()> {
        let set = match placement {
            Placement::OneCpu => self.last()?,
            Placement::Unpinned => self.0,
        };
        sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        (0..CpuSet::count()).filter(|&cpu| self.0.is_set(cpu) == Ok(true)).count()
    }

    /// The highest CPU alone: the lowest is where most machines take their interrupts.
    fn last(&self) -> Result<CpuSet> {
        let mut one = CpuSet::new();
        let mut cpus = (0..CpuSet::count()).rev();
        let cpu = cpus.find(|&cpu| self.0.is_set(cpu) == Ok(true)).context("no CPU is allowed")?;
        one.set(cpu)?;
        Ok(one)
    }
}
