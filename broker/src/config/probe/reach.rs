//! Checks whether the user of a tenant may enter its directory and execute its command, by owners and mode
//! bits (`generic_permission`, `fs/namei.c`, Linux 6.12). Files with an access control list are skipped.

use crate::launch::service::Identity;
use crate::sys::file::has_access_list;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Maximum number of symbolic links in a path (`MAXSYMLINKS`, `include/linux/namei.h`).
const MAX_LINKS: u32 = 40;

/// Why the user `who`, called `name`, may not execute the file at `path` or enter the directory there; `None`
/// if no reason is known.
pub fn obstacle(path: &Path, who: &Identity, name: &str) -> Option<String> {
    if who.uid.is_root() {
        return None;
    }
    let (mut at, mut left, mut links) = (PathBuf::from("/"), names(path), 0);
    while let Some(next) = left.pop() {
        // No component before this one is a link any more, so `..` is the parent directory.
        if next == ".." {
            _ = at.pop()
        } else {
            at.push(&next)
        }
        let facts = at.symlink_metadata().ok()?;
        if facts.is_symlink() {
            links += 1;
            let target = at.read_link().ok().filter(|_| links <= MAX_LINKS)?;
            if target.is_absolute() {
                at = "/".into()
            } else {
                _ = at.pop()
            }
            left.extend(names(&target));
        } else if !may_execute(&facts, who) && !has_access_list(&at) {
            return Some(message(&at, &facts, name));
        }
    }
    None
}

/// The components of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let parts =
        path.components().rev().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// The same bit permits to execute a program and to enter a directory.
fn may_execute(facts: &Metadata, who: &Identity) -> bool {
    let is_of_group =
        who.gid.as_raw() == facts.gid() || who.groups.iter().any(|gid| gid.as_raw() == facts.gid());
    let bit = match (facts.uid() == who.uid.as_raw(), is_of_group) {
        (true, _) => 0o100,
        (false, true) => 0o010,
        (false, false) => 0o001,
    };
    facts.mode() & bit != 0
}

fn message(path: &Path, facts: &Metadata, name: &str) -> String {
    let what = if facts.is_dir() { "enter the directory" } else { "execute" };
    let (shown, mode, uid, gid) = (path.display(), facts.mode() & 0o7777, facts.uid(), facts.gid());
    format!(
        "the user {name} may not {what} {shown} (mode {mode:04o}, uid {uid}, gid {gid}): run chmod o+x {shown}, move it \
         elsewhere, or choose another user"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, Uid, getegid};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Identity {
        let groups = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        Identity { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), groups }
    }

    /// Creates `inner/program` with these modes, in a directory that everybody may enter. `link` points to
    /// it.
    fn place(directory: u32, program: u32) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let inner = place.path().join("inner");
        fs::create_dir(&inner).expect("mkdir");
        fs::write(inner.join("program"), "").expect("write");
        fs::create_dir(place.path().join("below")).expect("mkdir");
        symlink("../inner", place.path().join("below/link")).expect("symlink");
        for (path, mode) in
            [(place.path().to_owned(), 0o755), (inner.join("program"), program), (inner, directory)]
        {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        place
    }

    #[test]
    fn owner_group_and_others_each_have_a_bit() {
        // None of these users owns the files.
        let gid = getegid().as_raw();
        let (stranger, member) = (user(7001, 7001, &[]), user(7001, 7001, &[gid]));
        let may = |place: &tempfile::TempDir, who: &Identity, path: &str| {
            obstacle(&place.path().join(path), who, "somebody").is_none()
        };
        let open = place(0o711, 0o711);
        assert!(may(&open, &stranger, "inner/program") && may(&open, &member, "below/link/program"));
        let of_group = place(0o710, 0o750);
        assert!(!may(&of_group, &stranger, "inner/program") && may(&of_group, &member, "inner/program"));
        let excluded = place(0o701, 0o755);
        assert!(
            may(&excluded, &stranger, "inner") && !may(&excluded, &member, "inner"),
            "the group's bits apply"
        );
        let data = place(0o755, 0o644);
        let said =
            obstacle(&data.path().join("below/link/program"), &stranger, "somebody").expect("an obstacle");
        assert!(
            said.contains("the user somebody may not execute") && said.contains("/inner/program (mode 0644")
        );
        assert!(may(&data, &user(0, 0, &[]), "inner/program"), "root may execute it");
        assert!(may(&data, &stranger, "none/program"), "a missing file is reported elsewhere");
    }

    #[test]
    fn cyclic_links_end_the_search() {
        let place = tempfile::tempdir().expect("a directory");
        symlink("round", place.path().join("round")).expect("symlink");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(obstacle(&place.path().join("round"), &user(7001, 7001, &[]), "somebody"), None);
    }
}
