//! The steps into the jail, in their order, one a line, each with its function and the reason for its
//! position.
//!
//! `tests/live.rs` checks every line against `/proc` of a live zygote and worker. System calls and resource
//! limits have their own tables: [`rules`](super::rules), [`limits`](super::limits).

use super::error::JailError;
use super::{Entering, namespaces, privileges};
use nix::sched::CloneFlags;

/// Which zygotes take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All.
    All,
    /// That of a broker that runs as root.
    Root,
    /// That of a rootless broker.
    Rootless,
}

impl Whose {
    /// Returns whether the zygote of a rootless broker, or of one that runs as root, takes it.
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
    /// What it removes.
    pub takes: &'static str,
    /// Which zygotes take it.
    pub whose: Whose,
    /// The function.
    pub run: fn(&mut Entering) -> Result<(), JailError>,
    /// Why, and why at this position.
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

/// The steps before the handlers are loaded.
pub const BEFORE_LOADING: &[Step] = &[
    all("descriptors", Entering::close_others, "closes those of the spawner"),
    all(
        "limits",
        Entering::limit,
        "before the uid changes: lowering needs no capability, and processes of the new uid count at once",
    ),
    // The creator of the tenant's user namespace has all capabilities in it, unless it is in another
    // namespace that is not an ancestor of it (cap_capable, security/commoncap.c).
    rootless(
        "user namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWUSER),
        "it maps no id; it owns the namespaces of the next steps",
    ),
    all(
        "mount namespace",
        |_| namespaces::leave_mounts(),
        "its root can be swapped, and its mounts do not propagate",
    ),
    all(
        "network namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWNET),
        "no interface, abstract socket or netlink socket of the machine",
    ),
    all(
        "IPC namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWIPC),
        "no System V object or POSIX message queue of the machine",
    ),
    all("UTS namespace", |_| namespaces::leave(CloneFlags::CLONE_NEWUTS), "the machine's name cannot be set"),
    all(
        "cgroup namespace",
        |_| namespaces::leave(CloneFlags::CLONE_NEWCGROUP),
        "hides the path of its control group",
    ),
    all(
        "root's keeper",
        Entering::fork_keeper,
        "while there are capabilities: it keeps the one that removes the files after loading",
    ),
    all(
        "bounding set",
        |_| privileges::drop_bounds(),
        "while CAP_SETPCAP is there; an exec cannot restore a capability then",
    ),
    root(
        "ids",
        Entering::become_user,
        "groups, group, user: in this order root still has the right to the next",
    ),
    all("capabilities", |_| privileges::drop_capabilities(), "after the uid, whose change needs one"),
    all("privileges of programs", |_| privileges::forbid_new_privileges(), "needed to install a filter"),
    all(
        "being looked into",
        |_| privileges::hide(),
        "other processes of the uid may not attach to a worker or read it through /proc",
    ),
    all(
        "life without a parent",
        Entering::die_with_parent,
        "after ids and capabilities, as changing them clears it (commit_creds, kernel/cred.c)",
    ),
];

/// The steps after the handlers are loaded.
pub const AFTER_LOADING: &[Step] = &[
    all("descriptors of loading", Entering::close_loaded, "a library may have opened files"),
    all(
        "code that can be written",
        |_| privileges::refuse_writable_code(),
        "if there is none now, the filter prevents more",
    ),
    all("files", Entering::empty_root, "after loading, which needs files"),
    all("Landlock", Entering::landlock, "denies files and network a second time, where the kernel has it"),
    all("system calls", Entering::filter, "last: the filter denies the calls of the other steps"),
];
