//! The table of steps against `/proc` of a live zygote and worker.

use super::super::steps::{AFTER_LOADING, BEFORE_LOADING, Step};
use super::super::*;
use kcov_sys::probe::{child, end_of};
use nix::errno::Errno;
use nix::sys::resource::Resource;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, recvmsg, send, socketpair};
use nix::sys::wait::WaitStatus;
use std::collections::BTreeMap;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{IntoRawFd, OwnedFd};

const USER: u32 = 54_321;
const GROUP: u32 = 54_322;
const MEMORY: limits::Memory = limits::Memory { data: 1 << 30, areas: 1 << 32 };

/// A jailed zygote and its worker, both waiting.
struct Family {
    rootless: bool,
    zygote: Pid,
    worker: Pid,
    /// Number of the only descriptor that is kept besides the streams.
    socket: RawFd,
    ours: OwnedFd,
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair")
}

/// Acts as a library that leaves a directory open and replaces a stream.
fn careless_library() -> Result<(), JailError> {
    let root = fs::File::open("/").expect("the root while a library is loaded");
    nix::unistd::dup2_stdin(&root).expect("dup2");
    let _ = root.into_raw_fd();
    Ok(())
}

impl Family {
    /// Jails a child and forks a jailed worker from it.
    fn new(rootless: bool) -> Self {
        let (ours, theirs) = pair();
        let socket = theirs.as_raw_fd();
        let config = JailConfig {
            uid: USER,
            gid: GROUP,
            parent: std::process::id(),
            keep: vec![socket, 2, 2],
            keep_for_loading: vec![],
            memory: Some(MEMORY),
        };
        // The death signal is sent when the *thread* that forked ends: this one waits below.
        let zygote = child(|| {
            if rootless && become_ordinary().is_err() {
                return 1;
            }
            match enter_zygote(&config, careless_library) {
                Ok((mut jail, ())) => be_zygote(&mut jail, socket),
                Err(error) => {
                    eprintln!("{error}");
                    1
                }
            }
        });
        drop(theirs);
        let worker = worker_of(&ours);
        Family { rootless, zygote, worker, socket, ours }
    }

    fn both(&self) -> [Pid; 2] {
        [self.zygote, self.worker]
    }

    fn end(self) {
        send(self.ours.as_raw_fd(), b"end", MsgFlags::empty()).expect("send");
        assert_eq!(nix::sys::wait::waitpid(self.zygote, None), Ok(WaitStatus::Exited(self.zygote, 0)));
    }
}

/// Becomes an ordinary user, as whom a rootless zygote starts.
fn become_ordinary() -> Result<(), Errno> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(GROUP.into(), GROUP.into(), GROUP.into())?;
    nix::unistd::setresuid(USER.into(), USER.into(), USER.into())?;
    // As after an exec: the process owns its /proc/self again.
    nix::sys::prctl::set_dumpable(true)
}

fn be_zygote(jail: &mut WorkerJail, socket: RawFd) -> i32 {
    let worker = child(|| match jail.enter() {
        Ok(()) => converse(socket),
        Err(_) => 1,
    });
    let _ = send(socket, &worker.as_raw().to_ne_bytes(), MsgFlags::empty());
    match nix::sys::wait::waitpid(worker, None) {
        Ok(WaitStatus::Exited(_, 0)) => 0,
        _ => 1,
    }
}

/// Acts as a worker: allocates, sends a message, waits for one.
fn converse(socket: RawFd) -> i32 {
    let big = vec![1u8; 4 << 20];
    let seeded: std::collections::HashMap<u8, u8> = [(1, big[5])].into();
    let mut bytes = [0; 3];
    let hello = send(socket, b"hello", MsgFlags::empty());
    let end = recvmsg::<()>(socket, &mut [IoSliceMut::new(&mut bytes)], None, MsgFlags::empty())
        .map(|message| message.bytes);
    if hello.is_ok() && end == Ok(3) && seeded.len() == 1 { 0 } else { 1 }
}

/// Receives the worker's message and the zygote's, with the worker's number, in either order.
fn worker_of(ours: &OwnedFd) -> Pid {
    let mut bytes = [0; 8];
    let mut worker = None;
    for _ in 0..2 {
        if recv(ours.as_raw_fd(), &mut bytes, MsgFlags::empty()).expect("message") == 4 {
            worker = bytes.as_chunks().0.first().copied().map(i32::from_ne_bytes);
        }
    }
    Pid::from_raw(worker.expect("message of the zygote"))
}

fn text(pid: Pid, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).expect(name)
}

fn link(pid: Pid, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/{name}")).expect(name).display().to_string()
}

/// Returns a line of `/proc/PID/status`.
fn status(pid: Pid, field: &str) -> String {
    let text = text(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect(field).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the descriptors of a process and their targets.
fn descriptors(pid: Pid) -> BTreeMap<RawFd, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd");
    let number = |entry: fs::DirEntry| entry.file_name().to_str().expect("name").parse().expect("number");
    entries
        .map(|entry| number(entry.expect("entry")))
        .map(|fd| (fd, link(pid, &format!("fd/{fd}"))))
        .collect()
}

fn assert_descriptors(family: &Family) {
    for pid in family.both() {
        let descriptors = descriptors(pid);
        assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2, family.socket]);
        assert!(descriptors[&0].ends_with("null") && descriptors[&1] == "/dev/null", "{descriptors:?}");
    }
}

/// Returns the name of a limit in `/proc/PID/limits`.
fn limit_name(resource: Resource) -> &'static str {
    match resource {
        Resource::RLIMIT_CORE => "Max core file size",
        Resource::RLIMIT_FSIZE => "Max file size",
        Resource::RLIMIT_NOFILE => "Max open files",
        Resource::RLIMIT_STACK => "Max stack size",
        Resource::RLIMIT_MEMLOCK => "Max locked memory",
        Resource::RLIMIT_MSGQUEUE => "Max msgqueue size",
        Resource::RLIMIT_NICE => "Max nice priority",
        Resource::RLIMIT_RTPRIO => "Max realtime priority",
        Resource::RLIMIT_NPROC => "Max processes",
        Resource::RLIMIT_DATA => "Max data size",
        Resource::RLIMIT_AS => "Max address space",
        other => panic!("name the limit {other:?} here"),
    }
}

fn assert_limits(family: &Family) {
    let own = (!family.rootless).then_some((Resource::RLIMIT_NPROC, 64));
    let memory = [(Resource::RLIMIT_DATA, MEMORY.data), (Resource::RLIMIT_AS, MEMORY.address_space())];
    let all = limits::LIMITS.iter().copied().chain(own).chain(memory);
    for (resource, most) in all {
        for pid in family.both() {
            let (name, limits) = (limit_name(resource), text(pid, "limits"));
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            let values: Vec<u64> =
                line.split_whitespace().take(2).map(|value| value.parse().expect(name)).collect();
            assert!(values.iter().all(|value| *value <= most), "{name}: {values:?}, not {most}");
        }
    }
}

fn assert_own_namespace(family: &Family, kind: &str) {
    let name = format!("ns/{kind}");
    let [zygote, worker] = family.both().map(|pid| link(pid, &name));
    assert_eq!(zygote, worker, "{kind}");
    assert_ne!(zygote, link(Pid::this(), &name), "{kind}");
}

fn assert_empty_root(family: &Family) {
    for pid in family.both() {
        let mounts = text(pid, "mountinfo");
        let [mount] = mounts.lines().collect::<Vec<_>>()[..] else { panic!("{mounts}") };
        let fields: Vec<&str> = mount.split(' ').collect();
        assert_eq!((fields[4], fields[5]), ("/", "ro,nosuid,nodev,noexec,relatime"), "{mount}");
        assert!(mount.contains(" - tmpfs "), "{mount}");
        for place in ["root", "cwd"] {
            let entries = fs::read_dir(format!("/proc/{pid}/{place}/")).expect(place);
            assert_eq!((link(pid, place).as_str(), entries.count()), ("/", 0), "{place}");
        }
    }
}

/// Asserts the effect of a step that other processes see.
fn assert_taken(step: &Step, family: &Family) {
    let each = |field: &str, expected: &str| {
        family.both().into_iter().for_each(|pid| assert_eq!(status(pid, field), expected, "{field}"));
    };
    const NONE: &str = "0000000000000000";
    match step.takes {
        "descriptors" | "descriptors of loading" => assert_descriptors(family),
        "limits" => assert_limits(family),
        "user namespace" => assert_own_namespace(family, "user"),
        "mount namespace" => assert_own_namespace(family, "mnt"),
        "network namespace" => assert_own_namespace(family, "net"),
        "IPC namespace" => assert_own_namespace(family, "ipc"),
        "UTS namespace" => assert_own_namespace(family, "uts"),
        "cgroup namespace" => assert_own_namespace(family, "cgroup"),
        // It has ended: the worker is the only child.
        "root's keeper" => {
            let children = text(family.zygote, &format!("task/{}/children", family.zygote));
            assert_eq!(children.trim(), family.worker.to_string());
        }
        "bounding set" => each("CapBnd", NONE),
        "ids" => {
            each("Uid", &[(); 4].map(|()| USER.to_string()).join(" "));
            each("Gid", &[(); 4].map(|()| GROUP.to_string()).join(" "));
            each("Groups", "");
        }
        "capabilities" => {
            ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().for_each(|set| each(set, NONE));
        }
        "privileges of programs" => each("NoNewPrivs", "1"),
        "being looked into" => family.both().into_iter().for_each(|pid| {
            let owner = fs::metadata(format!("/proc/{pid}/environ")).expect("stat").uid();
            assert_eq!(owner, 0, "/proc/PID belongs to root though the process does not");
        }),
        "code that can be written" => family.both().into_iter().for_each(|pid| {
            assert!(!text(pid, "maps").lines().any(|line| line.contains("wx")), "data that is code");
        }),
        "files" => assert_empty_root(family),
        "system calls" => {
            each("Seccomp", "2");
            assert_eq!(family.both().map(|pid| status(pid, "Seccomp_filters")), ["1", "2"]);
        }
        // Not in /proc; tested below.
        "life without a parent" | "Landlock" => {}
        other => panic!("assert the step `{other}` here"),
    }
}

#[test]
fn every_step_shows_in_proc() {
    if !Uid::effective().is_root() {
        return;
    }
    for rootless in [false, true] {
        let family = Family::new(rootless);
        let steps = BEFORE_LOADING.iter().chain(AFTER_LOADING);
        steps.filter(|step| step.whose.includes(rootless)).for_each(|step| assert_taken(step, &family));
        let own = |kind: &str| link(Pid::this(), kind);
        assert_eq!(link(family.worker, "ns/pid"), own("ns/pid"), "a worker sees its callers' process ids");
        family.end();
    }
}

#[test]
fn a_worker_does_not_outlive_its_zygote() {
    if !Uid::effective().is_root() {
        return;
    }
    let family = Family::new(false);
    nix::sys::signal::kill(family.zygote, Signal::SIGKILL).expect("kill");
    nix::sys::wait::waitpid(family.zygote, None).expect("waitpid");
    // The socket is closed when its last holder ends.
    assert_eq!(recv(family.ours.as_raw_fd(), &mut [0; 8], MsgFlags::empty()), Ok(0));
}

#[test]
fn landlock_denies_files_where_the_kernel_has_it() {
    let end = end_of(|| {
        if nix::sys::prctl::set_no_new_privs().is_err() {
            return 1;
        }
        let Ok(status) = landlock::deny_all() else { return 2 };
        let denied = fs::read_dir("/").is_err();
        let enforced = status != ::landlock::RulesetStatus::NotEnforced;
        i32::from(denied != enforced) * 3
    });
    assert!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
}

#[test]
fn root_and_a_wrong_parent_are_refused() {
    let config =
        JailConfig { uid: 0, gid: GROUP, parent: 1, keep: vec![2], keep_for_loading: vec![], memory: None };
    assert!(matches!(enter_zygote(&config, || Ok::<(), JailError>(())), Err(JailError::IsRoot { .. })));
    let config = JailConfig { uid: USER, ..config };
    if Uid::effective().is_root() {
        let end = end_of(|| {
            i32::from(matches!(enter_zygote(&config, || Ok::<(), JailError>(())), Err(JailError::Orphan)))
        });
        assert!(matches!(end, WaitStatus::Exited(_, 1)), "{end:?}");
    }
}
