//! The jail as a table: its steps in their order, one a line, with the function that takes each and the reason that it
//! stands where it does.
//!
//! `tests.rs` holds every line against what `/proc` shows of a zygote and a worker that live. The system calls have a
//! table of their own: [`rules`](super::rules); so have the resource limits: [`limits`](super::limits).

use super::{Entering, JailError, namespaces};
use nix::sched::CloneFlags;

/// Whose zygote takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// That of a broker that runs as root.
    Root,
    /// An ordinary user's.
    Rootless,
}

impl Whose {
    /// Whether the zygote of such a broker takes it.
    #[must_use]
    pub fn includes(self, rootless: bool) -> bool {
        match self {
            Whose::All => true,
            Whose::Root => !rootless,
            Whose::Rootless => rootless,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it takes away.
    pub takes: &'static str,
    /// Who takes it.
    pub whose: Whose,
    /// The function.
    pub run: fn(&mut Entering) -> Result<(), JailError>,
    /// Why, and why here.
    pub why: &'static str,
}

const fn all(
    takes: &'static str,
    run: fn(&mut Entering) -> Result<(), JailError>,
    why: &'static str,
) -> Step {
    Step { takes, whose: Whose::All, run, why }
}

const fn root(
    takes: &'static str,
    run: fn(&mut Entering) -> Result<(), JailError>,
    why: &'static str,
) -> Step {
    Step { takes, whose: Whose::Root, run, why }
}

const fn rootless(
    takes: &'static str,
    run: fn(&mut Entering) -> Result<(), JailError>,
    why: &'static str,
) -> Step {
    Step { takes, whose: Whose::Rootless, run, why }
}

/// What is done before other people's code is loaded.
pub const BEFORE_LOADING: &[Step] = &[
    all("descriptors", Entering::close_others, "none of the spawner's leads out"),
    all(
        "limits",
        Entering::limit,
        "before the uid changes: lowering needs no right, and the new uid's processes count at once",
    ),
    // Who made the tenant's namespace has all capabilities there, unless he asks from another one that is no parent of
    // it (cap_capable, security/commoncap.c).
    rootless(
        "user namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWUSER),
        "nobody has a number in it and nothing belongs to anybody; it owns those below",
    ),
    all("mount namespace", |_| namespaces::leave_mounts(), "its root can be swapped, and nothing gets out"),
    all(
        "network namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWNET),
        "no interface, no abstract socket, no netlink of the machine's",
    ),
    all("IPC namespace", |_| namespaces::leave(CloneFlags::CLONE_NEWIPC), "no System V object, no mqueue"),
    all("UTS namespace", |_| namespaces::leave(CloneFlags::CLONE_NEWUTS), "no name of the machine to set"),
    all(
        "cgroup namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWCGROUP),
        "the path of its control group is its own business",
    ),
    all(
        "root's keeper",
        Entering::fork_keeper,
        "while there are rights: the one that stays with it takes the files away when all is loaded",
    ),
    all("bounding set", |_| super::drop_bounds(), "while CAP_SETPCAP is there; nothing brings one back"),
    root("ids", Entering::become_user, "root alone can change them; groups, group, user, as each still may"),
    all("capabilities", |_| super::drop_capabilities(), "after the uid, which takes one to change"),
    all("privileges of programs", |_| super::forbid_new_privileges(), "a filter may be installed then"),
    all(
        "being looked into",
        |_| super::hide(),
        "nobody of the same uid may attach to a worker or read it through /proc",
    ),
    all(
        "life without a parent",
        Entering::die_with_parent,
        "after ids and capabilities, a change of which clears it (commit_creds, kernel/cred.c)",
    ),
];

/// What is done after that, by a process that has no rights any more.
pub const AFTER_LOADING: &[Step] = &[
    all("descriptors of loading", Entering::close_loaded, "a library may have opened what leads to files"),
    all(
        "code that can be written",
        |_| super::refuse_writable_code(),
        "once there is no more of it, the filter keeps data from becoming code",
    ),
    all("files", Entering::empty_root, "after loading: libraries need libraries"),
    all(
        "Landlock",
        Entering::landlock,
        "files and network once more, by another mechanism, where there is one",
    ),
    all("system calls", Entering::filter, "last: the filter allows none of the above"),
];
