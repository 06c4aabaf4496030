use super::*;
use std::os::unix::fs::PermissionsExt;

const LIMITS: Limits = Limits { memory: 1 << 30, processes: 64 };

/// A directory like a hierarchy of version 2 with one delegated group, `/unit`.
struct Unified {
    directory: tempfile::TempDir,
}

impl Unified {
    fn new(controllers: &str, enabled: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let unit = directory.path().join("unit");
        fs::create_dir(&unit).expect("mkdir");
        fs::write(unit.join("cgroup.controllers"), controllers).expect("write");
        fs::write(unit.join("cgroup.subtree_control"), enabled).expect("write");
        Unified { directory }
    }

    fn unit(&self) -> PathBuf {
        self.directory.path().join("unit")
    }

    fn hierarchies(&self) -> Vec<Hierarchy> {
        let mount = format!(
            "30 23 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n31 23 0:5 / /dev rw - devtmpfs dev rw\n",
            self.directory.path().display()
        );
        hierarchy::all(&mount, "0::/unit\n")
    }
}

#[test]
fn controllers_of_a_delegated_group_are_enabled() {
    let unified = Unified::new("cpu memory pids\n", "memory\n");
    let plan = find_in(&unified.hierarchies(), &Parent::Own, LIMITS).expect("a plan");
    plan.enable_controllers().expect("enabled");
    assert_eq!(fs::read_to_string(unified.unit().join("cgroup.subtree_control")).expect("read"), "+pids");
    let group = Group::make(&plan).expect("a group");
    group.enter().expect("to enter");
    let directory = group.directories[0].clone();
    let text = |file: &str| fs::read_to_string(directory.join(file)).expect(file);
    assert_eq!((text("memory.max").as_str(), text("memory.swap.max").as_str()), ("1073741824", "0"));
    assert_eq!((text("pids.max").as_str(), text("cgroup.procs").as_str()), ("64", "0"));
}

#[test]
fn errors_name_what_is_missing() {
    let message = |unified: &Unified, parent: &Parent| {
        let plan = find_in(&unified.hierarchies(), parent, LIMITS);
        plan.and_then(|plan| plan.enable_controllers()).expect_err("no plan").to_string()
    };
    let without = Unified::new("cpu pids\n", "");
    assert!(message(&without, &Parent::Own).contains("no controller `memory`"));
    let with = Unified::new("memory pids\n", "");
    assert!(message(&with, &Parent::Named("/elsewhere".into())).contains("no control group /elsewhere"));
    // The kernel refuses the write if the group has processes.
    let control = with.unit().join("cgroup.subtree_control");
    fs::remove_file(&control).and_then(|()| fs::create_dir(&control)).expect("a directory in its place");
    assert!(message(&with, &Parent::Own).contains("cannot enable `memory`"));
}

#[test]
fn a_group_of_another_user_is_refused() {
    if nix::unistd::geteuid().is_root() {
        return;
    }
    let unified = Unified::new("memory pids\n", "memory pids\n");
    fs::set_permissions(unified.unit(), fs::Permissions::from_mode(0o500)).expect("chmod");
    let refused = find_in(&unified.hierarchies(), &Parent::Own, LIMITS);
    assert!(matches!(refused, Err(CgroupError::Forbidden { errno: Errno::EACCES, .. })), "{refused:?}");
}

#[test]
fn hierarchies_of_version_1_are_found_by_controller() {
    let (memory, pids) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    for directory in [&memory, &pids] {
        fs::create_dir(directory.path().join("own")).expect("mkdir");
    }
    let mounts = format!(
        "40 39 0:30 / {} rw shared:9 - cgroup cgroup rw,memory\n41 39 0:31 /below {} rw - cgroup cgroup rw,pids\n",
        memory.path().display(),
        pids.path().display()
    );
    let hierarchies = hierarchy::all(&mounts, "8:pids:/below/own\n4:memory:/own\n1:name=systemd:/x\n0::/\n");
    let plan = find_in(&hierarchies, &Parent::Own, LIMITS).expect("a plan");
    let parents: Vec<_> = plan.places.iter().map(|place| place.parent.clone()).collect();
    assert_eq!(parents, [memory.path().join("own"), pids.path().join("own")]);
    assert_eq!(plan.places[0].bounds[0].file, "memory.limit_in_bytes");
}

#[test]
fn a_parent_is_an_absolute_path_without_dots() {
    assert_eq!("own".parse(), Ok(Parent::Own));
    assert_eq!("/a/b".parse(), Ok(Parent::Named("/a/b".into())));
    for wrong in ["", "a/b", "/a/../b", "auto"] {
        assert!(wrong.parse::<Parent>().is_err(), "{wrong}");
    }
}

#[test]
fn groups_of_brokers_that_are_gone_are_removed() {
    let parent = tempfile::tempdir().expect("a directory");
    for name in ["kcov-0123456789abcdef", "kcov-1", "kcov-x", "other"] {
        fs::create_dir(parent.path().join(name)).expect("mkdir");
    }
    let (live, _lock) = make_directory(parent.path()).expect("a group");
    remove_stale(parent.path());
    fs::remove_dir(live).expect("a live group is kept");
    let mut left: Vec<_> =
        fs::read_dir(parent.path()).expect("read").map(|entry| entry.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["kcov-1", "kcov-x", "other"]);
}
