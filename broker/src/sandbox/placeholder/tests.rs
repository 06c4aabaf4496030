//! Each case runs in a forked child, as a process cannot return to its old mount namespace. They need root.

use super::*;
use crate::sys::file::file_facts;
use crate::sys::fork;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::libc;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::{fstatat, stat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{AccessFlags, access};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const DEBUG: &str = "/sys/kernel/debug/kcov";
const DEVICE: &str = "/dev/kcov";

/// Runs `case` in a child and fails if it panics.
fn in_child(case: impl FnOnce() + std::panic::UnwindSafe) {
    let child = fork::child(|| i32::from(std::panic::catch_unwind(case).is_err())).expect("fork");
    assert_eq!(waitpid(child, None).expect("waitpid"), WaitStatus::Exited(child, 0));
}

fn id_of(path: &str) -> FileId {
    let file = open(path, OFlag::O_PATH, Mode::empty()).expect("open");
    file_facts(file.as_fd()).expect("statx").id
}

/// As in debugfs: no entry can be added, removed or renamed.
#[test]
fn the_device_cannot_be_removed() {
    in_child(|| {
        install().expect("install");
        let refused = |result: std::io::Result<()>| result.expect_err("refused").raw_os_error();
        assert_eq!(refused(fs::remove_file(DEBUG)), Some(libc::EPERM));
        assert_eq!(refused(fs::rename(DEBUG, "/sys/kernel/debug/other")), Some(libc::EPERM));
        assert_eq!(refused(fs::hard_link(DEBUG, "/sys/kernel/debug/other")), Some(libc::EPERM));
        assert_eq!(refused(fs::create_dir("/sys/kernel/debug/other")), Some(libc::EPERM));
        open(DEBUG, OFlag::O_RDWR, Mode::empty()).expect("open");
    });
}

#[test]
fn the_placeholder_stores_nothing() {
    in_child(|| {
        install().expect("install");
        let mut file = fs::OpenOptions::new().read(true).write(true).open(DEBUG).expect("open");
        let full = |result: Result<(), Errno>| assert_eq!(result, Err(Errno::ENOSPC));
        full(file.write_all(b"x").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))));
        full(nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 4096));
        let set = std::process::Command::new("python3")
            .args(["-c", "import os, sys; os.setxattr(sys.argv[1], 'trusted.x', b'y' * 100)", DEBUG])
            .output()
            .expect("python3");
        assert!(!set.status.success(), "an extended attribute was stored");
        assert_eq!(fs::read_dir("/sys/kernel/debug").expect("readdir").count(), 1);
    });
}

fn names_in_dev() -> BTreeSet<std::ffi::OsString> {
    fs::read_dir("/dev").expect("readdir").map(|entry| entry.expect("entry").file_name()).collect()
}

fn assert_terminals_work() {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).expect("/dev/ptmx");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let name = ptsname_r(&master).expect("ptsname");
    let slave = open(&*name, OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty()).expect("slave");
    assert_eq!(nix::unistd::ttyname(&slave).expect("ttyname").to_str(), Some(&*name));
}

#[test]
fn both_paths_look_like_the_device_and_the_host_has_neither() {
    let before = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let names = names_in_dev();
    in_child(|| {
        let started = Instant::now();
        let done = install().expect("install");
        println!("install took {:?}", started.elapsed());
        assert_eq!(done.notes, Vec::<String>::new());
        assert_eq!([done.file; 2], [DEBUG, DEVICE].map(|path| Some(id_of(path))));
        for path in [DEBUG, DEVICE] {
            let found = stat(path).expect("stat");
            assert_eq!((found.st_mode, found.st_uid, found.st_gid), (libc::S_IFREG | 0o600, 0, 0));
            access(path, AccessFlags::R_OK | AccessFlags::W_OK).expect("access");
            open(path, OFlag::O_RDWR, Mode::empty()).expect("open");
        }
    });
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), before);
    assert_eq!(names_in_dev(), names);
}

#[test]
fn the_rest_of_dev_keeps_its_names_identities_and_use() {
    in_child(|| {
        let old = open_directory("/dev").expect("open");
        let names = names_in_dev();
        let tty = id_of("/dev/tty");
        install().expect("install");

        let mut with_device = names.clone();
        with_device.insert("kcov".into());
        assert_eq!(names_in_dev(), with_device);
        assert_eq!(id_of("/dev/tty"), tty);
        let new = open_directory("/dev").expect("open");
        for name in &names {
            let [was, is] = [&old, &new]
                .map(|at| fstatat(at, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).expect("stat"));
            let facts = |s: libc::stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
            assert_eq!(facts(was), facts(is), "{name:?}");
        }
        fs::OpenOptions::new().write(true).open("/dev/null").expect("null").write_all(b"x").expect("write");
        fs::write("/dev/shm/kcov-placeholder-test", "x").expect("shm");
        fs::remove_file("/dev/shm/kcov-placeholder-test").expect("shm");
        assert_terminals_work();
    });
}

#[test]
fn the_last_placeholders_cover_earlier_and_outer_ones() {
    in_child(|| {
        let first = install().expect("install");
        let second = install().expect("install");
        assert_eq!(second.notes, Vec::<String>::new());
        assert_eq!([second.file; 2], [DEBUG, DEVICE].map(|path| Some(id_of(path))));
        assert_ne!(second.file, first.file);
        let kept = second.file;
        in_child(|| {
            let inner = install().expect("install");
            assert_eq!([inner.file; 2], [DEBUG, DEVICE].map(|path| Some(id_of(path))));
            assert_terminals_work();
        });
        assert_eq!([kept; 2], [DEBUG, DEVICE].map(|path| Some(id_of(path))));
    });
}

#[test]
fn a_working_directory_below_dev_is_entered_again() {
    in_child(|| {
        nix::unistd::chdir("/dev").expect("chdir");
        let done = install().expect("install");
        assert_eq!(done.file, Some(id_of("kcov")));
        assert_eq!(std::env::current_dir().expect("getcwd"), Path::new("/dev"));
    });
}

#[test]
fn a_user_namespace_is_enough() {
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWUSER).expect("unshare");
        fs::write("/proc/self/setgroups", "deny").expect("setgroups");
        fs::write("/proc/self/uid_map", "0 0 1").expect("uid_map");
        fs::write("/proc/self/gid_map", "0 0 1").expect("gid_map");
        let done = install().expect("install");
        assert_eq!(done.notes, Vec::<String>::new());
        assert_eq!([done.file; 2], [DEBUG, DEVICE].map(|path| Some(id_of(path))));
        fs::write("/dev/null", "x").expect("null");
        assert_terminals_work();
    });
}

#[test]
fn kallsyms_has_the_range_of_pcs_and_the_host_keeps_its_file() {
    const PATH: &str = "/proc/kallsyms";
    let before = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    in_child(|| {
        install().expect("install");
        install_kallsyms().expect("kallsyms");
        let text = fs::read_to_string(PATH).expect("read");
        assert_eq!(text, "ffffffff80000000 T _stext\nffffffffff000000 T _etext\n");
        assert_eq!(stat(PATH).expect("stat").st_mode, libc::S_IFREG | 0o444);
        assert_eq!(open(PATH, OFlag::O_WRONLY, Mode::empty()).err(), Some(Errno::EROFS));
        fs::read_to_string("/proc/self/status").expect("the rest of /proc");
        // Again, as for a broker that runs under a broker.
        install_kallsyms().expect("kallsyms");
        assert_eq!(fs::read_to_string(PATH).expect("read"), text);
    });
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), before);
}

/// A new procfs and sysfs in a new user namespace, which the kernel refuses if parts of the only ones are covered.
#[test]
fn file_systems_can_be_mounted_in_new_user_namespaces() {
    in_child(|| {
        install().expect("install");
        keep_proc_mountable().expect("second mount of /proc");
        install_kallsyms().expect("kallsyms");
        assert!(fs::read_to_string("/proc/kallsyms").expect("read").contains(" _stext"));
        let names: Vec<_> = fs::read_dir("/sys/kernel/debug").expect("readdir").collect();
        assert_eq!(names.len(), 1, "only the device is to be seen");
        let script = "mount -t proc proc /proc && mount -t sysfs sysfs /sys";
        let mounted = std::process::Command::new("unshare")
            .args(["-Urmnpf", "sh", "-c", script])
            .output()
            .expect("unshare");
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    });
}

#[test]
fn without_kallsyms_nothing_is_mounted() {
    in_child(|| {
        install().expect("install");
        nix::mount::mount(Some("x"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs");
        let error = install_kallsyms().expect_err("nothing to cover");
        assert_eq!((error.call, error.errno), ("move_mount", Errno::ENOENT));
        assert_eq!(fs::read_dir("/proc").expect("readdir").count(), 0);
    });
}

#[test]
fn a_missing_debug_directory_is_noted() {
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
            .expect("slave");
        nix::mount::mount(Some("x"), "/sys/kernel", Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .expect("tmpfs");
        let done = install().expect("install");
        assert_eq!(done.file, Some(id_of(DEVICE)));
        assert_eq!(
            done.notes,
            [
                "no placeholder at /sys/kernel/debug/kcov: open(O_DIRECTORY): ENOENT: No such file or directory"
            ]
        );
    });
}
