//! The hierarchies of control groups, from `/proc/self/mountinfo` and `/proc/self/cgroup` (`cgroups(7)`).

use super::{Controller, Parent};
use std::path::{Path, PathBuf};

/// Version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all controllers.
    Two,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its version.
    pub version: Version,
    /// Where it is mounted.
    mount: PathBuf,
    /// The group that is mounted there; `/` is the root group.
    root: String,
    /// This process's own group.
    own: String,
    /// Controllers of a version 1 hierarchy.
    controllers: Vec<String>,
}

/// Whether a list of words, separated by blanks or commas, contains `word`.
pub fn has_word(text: &str, word: &str) -> bool {
    text.split([' ', ',', '\n']).any(|one| one == word)
}

/// All mounted hierarchies in which this process has a group.
pub fn all(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    mountinfo.lines().filter_map(|line| mounted(line, cgroup)).collect()
}

/// Parses a line: `36 35 98:0 /ROOT /MOUNT options optional... - type source options`
/// (`proc_pid_mountinfo(5)`).
fn mounted(line: &str, cgroup: &str) -> Option<Hierarchy> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = kind.nth(1)?;
    let mut fields = mount.split(' ').skip(3);
    let (root, mount) = (fields.next()?.to_owned(), PathBuf::from(fields.next()?));
    let (controllers, own) = cgroup.lines().find_map(|line| own_group(line, version, options))?;
    Some(Hierarchy { version, mount, root, own, controllers })
}

/// Controllers and group of this process in a line of `/proc/self/cgroup`, if the line belongs to a mount
/// with these options.
fn own_group(line: &str, version: Version, options: &str) -> Option<(Vec<String>, String)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let belongs = match version {
        Version::Two => controllers.is_empty(),
        Version::One => !controllers.is_empty() && controllers.split(',').all(|one| has_word(options, one)),
    };
    belongs.then(|| (controllers.split(',').map(str::to_owned).collect(), path.to_owned()))
}

impl Hierarchy {
    /// The directory of a group, if it is below the mounted one.
    pub fn directory(&self, group: &Parent) -> Option<PathBuf> {
        let path = match group {
            Parent::Own => &self.own,
            Parent::Named(path) => path,
        };
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let directory = self.mount.join(below);
        directory.is_dir().then_some(directory)
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Whether `controller` can limit groups in `directory`.
    pub fn has(&self, controller: Controller, directory: &Path) -> bool {
        match self.version {
            Version::One => self.controllers.iter().any(|one| one == controller.name()),
            Version::Two => std::fs::read_to_string(directory.join("cgroup.controllers"))
                .is_ok_and(|text| has_word(&text, controller.name())),
        }
    }
}
