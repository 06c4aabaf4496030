//! Whether the user of a tenant may go where its configuration sends it, as far as owners and mode bits tell
//! (`generic_permission`, `fs/namei.c`, Linux 6.12). A file with an access control list is not judged.

use crate::launch::service::Identity;
use crate::sys::file::has_access_list;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links of one path (`MAXSYMLINKS`, `include/linux/namei.h`).
const MAX_LINKS: u32 = 40;

/// What keeps `who`, called `name`, from executing the file at `path`, or entering the directory there; `None` if nothing
/// is known to.
pub fn obstacle(path: &Path, who: &Identity, name: &str) -> Option<String> {
    if who.uid.is_root() {
        return None;
    }
    let (mut at, mut left, mut links) = (PathBuf::from("/"), names(path), 0);
    while let Some(next) = left.pop() {
        // `..` of what was walked without a link is the directory above.
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
            return Some(told(&at, &facts, name));
        }
    }
    None
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let parts =
        path.components().rev().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// The bit that executes a program lets into a directory.
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

fn told(path: &Path, facts: &Metadata, name: &str) -> String {
    let what = if facts.is_dir() { "enter the directory" } else { "execute" };
    let (shown, mode, uid, gid) = (path.display(), facts.mode() & 0o7777, facts.uid(), facts.gid());
    format!(
        "the user {name} may not {what} {shown} (mode {mode:04o}, of uid {uid} and gid {gid}): chmod o+x {shown}, put it \
         elsewhere, or name another user"
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

    /// `inner/program` in a directory that everybody may enter, with these modes; `link` leads there.
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
    fn owner_group_and_others_have_their_bits() {
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
            "the group's bits hold"
        );
        let data = place(0o755, 0o644);
        let said =
            obstacle(&data.path().join("below/link/program"), &stranger, "somebody").expect("an obstacle");
        assert!(
            said.contains("the user somebody may not execute") && said.contains("/inner/program (mode 0644")
        );
        assert!(may(&data, &user(0, 0, &[]), "inner/program"), "root is not asked");
        assert!(may(&data, &stranger, "none/program"), "what is not there is told of elsewhere");
    }

    #[test]
    fn links_that_go_round_are_given_up() {
        let place = tempfile::tempdir().expect("a directory");
        symlink("round", place.path().join("round")).expect("symlink");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(obstacle(&place.path().join("round"), &user(7001, 7001, &[]), "somebody"), None);
    }
}
