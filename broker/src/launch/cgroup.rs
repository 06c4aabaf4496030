//! Control groups: limits on memory and processes of everything that serves a tenant. They include areas and
//! memory files, which the resource limits of a worker do not count.
//!
//! The zygote of a tenant enters its own group before it executes the worker program, and workers are forked
//! there. The group is made below the one that the operator names, in the hierarchies (version 1 or 2, or
//! both) that have the controllers. It is removed when the tenant ends.
//!
//! A group is only made on request: entering a group of version 1 waits for the readers of a machine-wide
//! lock, for up to 25 ms (measured on Linux 6.18), and most users have no group to make others in.

mod hierarchy;

#[cfg(test)]
mod tests;

use hierarchy::{Hierarchy, Version};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Prefix of the names of groups. A random number follows.
const PREFIX: &str = "kcov-";
/// Digits of the random number.
const DIGITS: usize = 16;
/// Attempts to make a group that no other broker takes for a stale one.
const ATTEMPTS: usize = 8;
/// A process writes this to `cgroup.procs` to enter the group.
const MYSELF: &str = "0";

/// The parent of a tenant's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The broker's own group.
    Own,
    /// The group with this path in each hierarchy, as in `/proc/PID/cgroup`.
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
            _ => {
                Err("use `own`, or a path as in /proc/self/cgroup, such as /system.slice/NAME.service".into())
            }
        }
    }
}

/// Maximum number of processes in a tenant's group: the zygote, workers, and dead workers that are not reaped
/// yet.
const WORKER_PROCESSES: u64 = 64;

impl Limits {
    /// Limits for a tenant whose workers may allocate `memory` bytes each, and whose areas take `areas` bytes
    /// together.
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

/// A controller of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory, including memory files.
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

/// Limits of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, including swap.
    pub memory: u64,
    /// Number of processes.
    pub processes: u64,
}

/// Why a group cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The list of hierarchies cannot be read.
    #[error("cannot read {path}")]
    Unknown {
        /// The file.
        path: &'static str,
        /// The error.
        source: std::io::Error,
    },
    /// The parent does not exist in any hierarchy.
    #[error(
        "there is no control group {parent} {place}: create it, or name another one, as in /proc/self/cgroup, with \
         --cgroup or the key `cgroup`"
    )]
    NoGroup {
        /// The parent, as the operator named it.
        parent: String,
        /// Where it was searched.
        place: String,
    },
    /// The parent lacks a controller.
    #[error(
        "the control group {parent} has no controller `{controller}`: write +{controller} to cgroup.subtree_control of the \
         group above it, or name another one with --cgroup or the key `cgroup`"
    )]
    NoController {
        /// The parent, as the operator named it.
        parent: String,
        /// The controller.
        controller: &'static str,
    },
    /// The broker may not make groups in the parent.
    #[error(
        "{}: {}: delegate it to this user (Delegate=yes in a systemd unit), or run as root",
        .directory.display(), .errno.desc()
    )]
    Forbidden {
        /// Directory of the parent.
        directory: PathBuf,
        /// The error of the kernel.
        errno: Errno,
    },
    /// A controller cannot be enabled for children of the parent.
    #[error(
        "{}: cannot enable `{controller}` for groups below: {}: name a group without processes",
        .directory.display(), .errno.desc()
    )]
    NotEnabled {
        /// Directory of the parent.
        directory: PathBuf,
        /// The controller.
        controller: &'static str,
        /// The error of the kernel.
        errno: Errno,
    },
}

/// A directory to make a group in, and the files that hold its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    parent: PathBuf,
    /// Controllers to enable for children of the parent, in version 2.
    enabled: Vec<Controller>,
    bounds: Vec<Bound>,
}

/// A file with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    file: &'static str,
    value: u64,
    /// Whether some kernels lack the file.
    optional: bool,
}

/// Where to make groups. It is made before anything is started, so that errors are reported at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    places: Vec<Place>,
}

/// Finds the hierarchies of this machine, and enables the controllers for children of the parent.
///
/// # Errors
/// [`CgroupError`].
pub fn plan(parent: &Parent, limits: Limits) -> Result<Plan, CgroupError> {
    let plan = find(parent, limits)?;
    plan.enable_controllers()?;
    Ok(plan)
}

/// Finds the hierarchies of this machine without changing anything.
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
        let enabled = (hierarchy.version == Version::Two).then_some(controller);
        let bounds = bounds(hierarchy.version, controller, limits);
        match places.iter_mut().find(|place| place.parent == directory) {
            Some(place) => {
                place.enabled.extend(enabled);
                place.bounds.extend(bounds);
            }
            None => places.push(Place {
                parent: directory,
                enabled: enabled.into_iter().collect(),
                bounds: bounds.to_vec(),
            }),
        }
    }
    Ok(Plan { places })
}

/// The error for a parent that no hierarchy with this controller has.
fn missing(hierarchies: &[Hierarchy], parent: &Parent, controller: Controller) -> CgroupError {
    let parent_name = parent.to_string();
    if hierarchies.iter().any(|hierarchy| hierarchy.directory(parent).is_some()) {
        return CgroupError::NoController { parent: parent_name, controller: controller.name() };
    }
    let has = |hierarchy: &&Hierarchy| hierarchy.has(controller, hierarchy.mount());
    let mounts = hierarchies.iter().filter(has).map(|hierarchy| hierarchy.mount().display().to_string());
    let mounts: Vec<_> = mounts.collect();
    let place = match mounts.is_empty() {
        true => format!("(no hierarchy with `{}` is mounted)", controller.name()),
        false => format!("below {}", mounts.join(" or ")),
    };
    CgroupError::NoGroup { parent: parent_name, place }
}

impl Plan {
    fn enable_controllers(&self) -> Result<(), CgroupError> {
        self.places.iter().try_for_each(|place| {
            place.enabled.iter().try_for_each(|&controller| enable(controller, &place.parent))
        })
    }
}

/// Enables `controller` for groups below `directory` (`Documentation/admin-guide/cgroup-v2.rst`).
fn enable(controller: Controller, directory: &Path) -> Result<(), CgroupError> {
    let control = directory.join("cgroup.subtree_control");
    if fs::read_to_string(&control).is_ok_and(|text| hierarchy::has_word(&text, controller.name())) {
        return Ok(());
    }
    write(&control, &format!("+{}", controller.name())).map_err(|errno| CgroupError::NotEnabled {
        directory: directory.to_owned(),
        controller: controller.name(),
        errno,
    })
}

fn bounds(version: Version, controller: Controller, limits: Limits) -> [Bound; 2] {
    let bound = |file, value, optional| Bound { file, value, optional };
    match (controller, version) {
        // In this order: the second limit may not be lower than the first.
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
    /// The same directories, locked: see [`remove_stale`].
    locks: Vec<File>,
}

impl Group {
    /// Makes the group. Also removes groups of brokers that were killed together with their helpers.
    ///
    /// # Errors
    /// Errors of `mkdir(2)` and `write(2)`. The group is removed then.
    pub fn make(plan: &Plan) -> Result<Self, Errno> {
        let mut group = Group { directories: Vec::new(), locks: Vec::new() };
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
        let (directory, lock) = make_directory(&place.parent)?;
        self.directories.push(directory.clone());
        self.locks.push(lock);
        place.bounds.iter().try_for_each(|bound| {
            match write(&directory.join(bound.file), &bound.value.to_string()) {
                Err(_) if bound.optional => Ok(()),
                written => written,
            }
        })
    }

    /// Moves the calling process into the group.
    ///
    /// # Errors
    /// Errors of `write(2)`.
    pub fn enter(&self) -> Result<(), Errno> {
        self.directories.iter().try_for_each(|directory| write(&directory.join("cgroup.procs"), MYSELF))
    }

    /// Removes the group after its processes have ended. If one has not, the next broker removes it.
    pub fn remove(self) {
        self.directories.iter().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

/// Returns whether a group has the name of a tenant's.
fn is_name(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).unwrap_or_default();
    number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Makes a group with a random name, and locks it. A process id would not do as a name: brokers in several PID
/// namespaces may have the same parent group.
fn make_directory(parent: &Path) -> Result<(PathBuf, File), Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    for _ in 0..ATTEMPTS {
        let directory = parent.join(format!("{PREFIX}{:0DIGITS$x}", RandomState::new().hash_one(parent)));
        fs::create_dir(&directory).map_err(errno)?;
        // Another broker that looks for stale groups may lock or remove it before this one has the lock.
        let lock = File::open(&directory).ok().filter(|lock| lock.try_lock().is_ok());
        match lock.filter(|_| directory.is_dir()) {
            Some(lock) => return Ok((directory, lock)),
            None => drop(fs::remove_dir(&directory)),
        }
    }
    Err(Errno::EBUSY)
}

/// Removes the groups of brokers that are gone, whose locks the kernel has released. It refuses to remove groups
/// with processes.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let Some(lock) =
            entry.file_name().to_str().filter(|name| is_name(name)).and(File::open(entry.path()).ok())
        else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
