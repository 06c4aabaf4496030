//! Control groups: bounds on memory and processes of all that serves a tenant, the areas and memory files that its
//! workers fill among them. The limits that a worker sets itself do not count those.
//!
//! A tenant's zygote enters a group of its own before it executes the worker program; its workers are born there. The
//! group lies below the one that the operator names, in whatever hierarchies have the controllers (version 1 or 2, or
//! both), and is removed with the tenant.
//!
//! Nobody gets one unasked: entering a group of version 1 waits for the readers of a lock of the whole machine, up to
//! 25 ms were measured (Linux 6.18), and most users have none to make groups in.

mod hierarchy;

#[cfg(test)]
mod tests;

use hierarchy::{Hierarchy, Version};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How the names of groups begin; the number of the process that made one follows.
const PREFIX: &str = "kcov-";
/// What a process writes to the list of a group's processes to enter it.
const MYSELF: &str = "0";

/// Under which group a tenant's is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The broker's own.
    Own,
    /// This one, by its path as `/proc/PID/cgroup` has it, in each hierarchy.
    Named(String),
}

impl FromStr for Parent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "own" => Ok(Parent::Own),
            path if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
                Ok(Parent::Named(path.to_owned()))
            }
            _ => Err("say `own`, or a path as /proc/self/cgroup has it: /system.slice/NAME.service".into()),
        }
    }
}

/// Most processes of a tenant's workers: zygote, workers, and those dead and not yet reaped.
const WORKER_PROCESSES: u64 = 64;

impl Limits {
    /// Of all that serves a tenant, whose workers may each have `memory` bytes, and areas that take `areas` bytes together.
    #[must_use]
    pub fn of_tenant(memory: u64, areas: u64) -> Self {
        Limits { memory: memory.saturating_add(areas), processes: WORKER_PROCESSES }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parent::Own => f.write_str("`own`"),
            Parent::Named(path) => f.write_str(path),
        }
    }
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory, with that of files in memory.
    Memory,
    /// Processes.
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
        }
    }
}

/// Bounds of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, swapped out or not.
    pub memory: u64,
    /// Processes at a time.
    pub processes: u64,
}

/// Why no group can be made.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It cannot be seen what there is.
    #[error("cannot read {path}")]
    Unknown {
        /// What was read.
        path: &'static str,
        /// Why it cannot be.
        source: std::io::Error,
    },
    /// No hierarchy has the parent.
    #[error(
        "there is no control group {parent} {place}: make it, or name another, as /proc/self/cgroup has them, by \
         --cgroup or the key `cgroup`"
    )]
    NoGroup {
        /// The parent, as it was named.
        parent: String,
        /// Where it was looked for.
        place: String,
    },
    /// No hierarchy has a controller there.
    #[error(
        "the control group {parent} has no controller `{controller}`: write +{controller} to cgroup.subtree_control of the \
         group above it, or name another by --cgroup or the key `cgroup`"
    )]
    NoController {
        /// The parent, as it was named.
        parent: String,
        /// What is to be bounded.
        controller: &'static str,
    },
    /// The parent is not the broker's to use.
    #[error(
        "{}: {}: have it delegated (Delegate=yes in a systemd unit), or run as root",
        .directory.display(), .errno.desc()
    )]
    Forbidden {
        /// The parent.
        directory: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The parent does not hand a controller down.
    #[error(
        "{}: cannot hand `{controller}` down: {}: name a group that has no processes of its own",
        .directory.display(), .errno.desc()
    )]
    NotHandedDown {
        /// The parent.
        directory: PathBuf,
        /// What is to be bounded.
        controller: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// A directory that a group is to be made in, and the files that bound it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    parent: PathBuf,
    /// What the parent has to hand down, in version 2.
    handed_down: Vec<Controller>,
    bounds: Vec<Bound>,
}

/// A file with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    file: &'static str,
    value: u64,
    /// Not there on every kernel.
    optional: bool,
}

/// Where and how groups can be made: found before anything is started, so that what is missing is said at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    places: Vec<Place>,
}

/// Finds the hierarchies of this machine, and has the parent hand its controllers down.
///
/// # Errors
/// [`CgroupError`].
pub fn plan(parent: &Parent, limits: Limits) -> Result<Plan, CgroupError> {
    let plan = find(parent, limits)?;
    plan.hand_down()?;
    Ok(plan)
}

/// Finds the hierarchies of this machine, and changes nothing.
///
/// # Errors
/// [`CgroupError`].
pub fn find(parent: &Parent, limits: Limits) -> Result<Plan, CgroupError> {
    let read = |path| fs::read_to_string(path).map_err(|source| CgroupError::Unknown { path, source });
    let hierarchies = hierarchy::all(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    find_in(&hierarchies, parent, limits)
}

fn find_in(hierarchies: &[Hierarchy], parent: &Parent, limits: Limits) -> Result<Plan, CgroupError> {
    let mut places: Vec<Place> = Vec::new();
    for controller in [Controller::Memory, Controller::Pids] {
        let (hierarchy, directory) = hierarchies
            .iter()
            .filter_map(|hierarchy| Some((hierarchy, hierarchy.directory(parent)?)))
            .find(|(hierarchy, directory)| hierarchy.has(controller, directory))
            .ok_or_else(|| missing(hierarchies, parent, controller))?;
        let forbidden = |errno| CgroupError::Forbidden { directory: directory.clone(), errno };
        access(&directory, AccessFlags::W_OK).map_err(forbidden)?;
        let handed_down = (hierarchy.version == Version::Two).then_some(controller);
        let bounds = bounds(hierarchy.version, controller, limits);
        match places.iter_mut().find(|place| place.parent == directory) {
            Some(place) => {
                place.handed_down.extend(handed_down);
                place.bounds.extend(bounds);
            }
            None => places.push(Place {
                parent: directory,
                handed_down: handed_down.into_iter().collect(),
                bounds: bounds.to_vec(),
            }),
        }
    }
    Ok(Plan { places })
}

/// Why a group cannot be bounded by a controller: what there is in its place.
fn missing(hierarchies: &[Hierarchy], parent: &Parent, controller: Controller) -> CgroupError {
    let parent_name = parent.to_string();
    if hierarchies.iter().any(|hierarchy| hierarchy.directory(parent).is_some()) {
        return CgroupError::NoController { parent: parent_name, controller: controller.name() };
    }
    let has = |hierarchy: &&Hierarchy| hierarchy.has(controller, hierarchy.mount());
    let mounts = hierarchies.iter().filter(has).map(|hierarchy| hierarchy.mount().display().to_string());
    let mounts: Vec<_> = mounts.collect();
    let place = match mounts.is_empty() {
        true => format!("where no hierarchy with `{}` is mounted", controller.name()),
        false => format!("below {}", mounts.join(" or ")),
    };
    CgroupError::NoGroup { parent: parent_name, place }
}

impl Plan {
    fn hand_down(&self) -> Result<(), CgroupError> {
        self.places.iter().try_for_each(|place| {
            place.handed_down.iter().try_for_each(|&controller| hand_down(controller, &place.parent))
        })
    }
}

/// Has the groups below `directory` be bounded by `controller` (`Documentation/admin-guide/cgroup-v2.rst`).
fn hand_down(controller: Controller, directory: &Path) -> Result<(), CgroupError> {
    let control = directory.join("cgroup.subtree_control");
    if fs::read_to_string(&control).is_ok_and(|text| hierarchy::has_word(&text, controller.name())) {
        return Ok(());
    }
    write(&control, &format!("+{}", controller.name())).map_err(|errno| CgroupError::NotHandedDown {
        directory: directory.to_owned(),
        controller: controller.name(),
        errno,
    })
}

fn bounds(version: Version, controller: Controller, limits: Limits) -> [Bound; 2] {
    let bound = |file, value, optional| Bound { file, value, optional };
    match (controller, version) {
        // The second in this order: it may not be below the first.
        (Controller::Memory, Version::One) => [
            bound("memory.limit_in_bytes", limits.memory, false),
            bound("memory.memsw.limit_in_bytes", limits.memory, true),
        ],
        (Controller::Memory, Version::Two) => {
            [bound("memory.max", limits.memory, false), bound("memory.swap.max", 0, true)]
        }
        (Controller::Pids, _) => {
            [bound("pids.max", limits.processes, false), bound("cgroup.max.descendants", 0, true)]
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Errno> {
    fs::write(path, text).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// The group of one tenant's zygote and workers.
#[derive(Debug)]
pub struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Makes it, and takes away what brokers left behind that were killed with all their helpers.
    ///
    /// # Errors
    /// As `mkdir(2)` and `write(2)` there; nothing is left then.
    pub fn make(plan: &Plan) -> Result<Self, Errno> {
        let mut group = Group { directories: Vec::new() };
        let made = plan.places.iter().try_for_each(|place| group.make_in(place));
        match made {
            Ok(()) => Ok(group),
            Err(errno) => {
                group.remove();
                Err(errno)
            }
        }
    }

    fn make_in(&mut self, place: &Place) -> Result<(), Errno> {
        remove_stale(&place.parent);
        let directory = place.parent.join(format!("{PREFIX}{}", std::process::id()));
        let made = fs::create_dir(&directory);
        made.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        self.directories.push(directory.clone());
        place.bounds.iter().try_for_each(|bound| {
            match write(&directory.join(bound.file), &bound.value.to_string()) {
                Err(_) if bound.optional => Ok(()),
                written => written,
            }
        })
    }

    /// Puts the calling process into it.
    ///
    /// # Errors
    /// As `write(2)` there.
    pub fn enter(&self) -> Result<(), Errno> {
        self.directories.iter().try_for_each(|directory| write(&directory.join("cgroup.procs"), MYSELF))
    }

    /// Removes it. Its processes have ended; where one has not, it is left to the next broker.
    pub fn remove(self) {
        self.directories.iter().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

/// Removes the groups of brokers that are gone. The kernel keeps those that have processes.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let maker =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
