//! Every spelling of a path leads reader and caller to the same file.

use super::subject::{Setting, Spelling, Start};
use super::{Found, Reader, Subject, TenantRoot, ask, failed, files, reader};
use crate::sys::file;
use kcov_proto::message::ReaderKind;
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, chdir, chroot, setfsuid, setresuid};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::RefCell;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

/// A tree with links of every kind and a procfs.
fn tree() -> TempDir {
    let tree = TempDir::new().expect("tempdir");
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("a/b")).expect("mkdir");
    fs::create_dir(at("proc")).expect("mkdir");
    fs::create_dir(at("mnt")).expect("mkdir");
    fs::write(at("a/b/file"), "").expect("write");
    fs::write(at("file"), "").expect("write");
    for (target, name) in [
        ("/a/b", "abs"),
        ("a/b", "rel"),
        ("a/b/", "slash"),
        ("../..", "a/b/up"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
        ("/proc/self", "me"),
        ("/proc/thread-self/cwd", "here"),
        ("/proc/self/root/file", "a/magic"),
        ("rel", "rel2"),
        ("/", "top"),
    ] {
        symlink(target, at(name)).expect("symlink");
    }
    tree
}

fn private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
        .expect("private");
}

/// A chroot with its own procfs and a file system in `mnt`.
fn enter_chroot(tree: &Path) {
    private_mounts();
    mount(Some("proc"), &tree.join("proc"), Some("proc"), MsFlags::empty(), None::<&str>).expect("proc");
    mount(Some("mnt"), &tree.join("mnt"), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs");
    fs::write(tree.join("mnt/file"), "").expect("write");
    symlink("../a", tree.join("mnt/out")).expect("symlink");
    chroot(tree).expect("chroot");
    chdir("/a").expect("chdir");
}

/// Compares the results of one lookup.
fn check(reader: &mut Reader, subject: &Subject, spelling: &Spelling) {
    let own = subject.look_up(spelling);
    let what = ReaderKind::Open {
        flags: if spelling.follow { 0 } else { nix::libc::O_NOFOLLOW },
        dirfd: subject.dirfd(spelling.start),
        address: own.address,
        resolve: spelling.resolve,
    };
    let expected = match own.result {
        Ok(id) => Found::File(id),
        Err(errno) => failed(Errno::from_raw(errno)),
    };
    let text = String::from_utf8_lossy(&spelling.path).into_owned();
    assert_eq!(ask(reader, subject.tid, what), expected, "{text} {spelling:?}");
}

fn spellings() -> impl Strategy<Value = Spelling> {
    const WORDS: &[&str] = &[
        "a",
        "b",
        "file",
        "abs",
        "rel",
        "rel2",
        "slash",
        "up",
        "loop",
        "dangling",
        "me",
        "here",
        "magic",
        "top",
        "..",
        "..",
        ".",
        "",
        "proc",
        "proc",
        "self",
        "thread-self",
        "root",
        "cwd",
        "fd",
        "task",
        "exe",
        "mounts",
        "mnt",
        "out",
        "status",
        "<pid>",
        "<tid>",
        "<directory>",
        "<file>",
        "usr",
        "etc",
    ];
    const FLAGS: &[u64] = &[
        0,
        0,
        0,
        libc::RESOLVE_BENEATH,
        libc::RESOLVE_IN_ROOT,
        libc::RESOLVE_NO_SYMLINKS,
        libc::RESOLVE_NO_MAGICLINKS,
        libc::RESOLVE_NO_XDEV,
        libc::RESOLVE_NO_XDEV | libc::RESOLVE_IN_ROOT,
        libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT,
    ];
    let start = select(vec![Start::Cwd, Start::Cwd, Start::Directory, Start::File]);
    let path = (any::<bool>(), vec(select(WORDS), 0..9), any::<bool>());
    (start, path, any::<bool>(), select(FLAGS)).prop_map(
        |(start, (absolute, words, slash), follow, resolve)| {
            let edge = |is: bool| if is { "/" } else { "" };
            let path = format!("{}{}{}", edge(absolute), words.join("/"), edge(slash));
            Spelling { start, path: path.into_bytes(), follow, resolve }
        },
    )
}

/// Puts the subject's own numbers into a spelling.
fn numbered(subject: &Subject, spelling: &Spelling) -> Spelling {
    let hello = subject.hello;
    let mut path = String::from_utf8(spelling.path.clone()).expect("text");
    for (word, number) in
        [("<pid>", hello.pid), ("<tid>", hello.tid), ("<directory>", hello.directory), ("<file>", hello.file)]
    {
        path = path.replace(word, &number.to_string());
    }
    Spelling { path: path.into_bytes(), ..spelling.clone() }
}

/// Random spellings, and the ones that a person thinks of.
fn compare(setting: &Setting<'_>) {
    const KNOWN: &[&str] = &[
        "",
        "/",
        "//",
        ".",
        "..",
        "/..",
        "/../../file",
        "/proc/self/root/file",
        "/proc/self/root/../../a/b",
        "/proc/self/fd/<file>",
        "/proc/self/fd/<directory>/b/file",
        "/proc/thread-self/cwd/..",
        "me/cwd",
        "/me/exe",
        "/proc/self/exe/",
        "/proc/self/exe/x",
        "/proc/mounts",
        "/proc/self/task/<tid>/cwd",
        "/proc/<pid>/cwd/b",
        "/here/b/file",
        "/a/magic",
        "/a/magic/",
        "/a/b/up/file",
        "/loop",
        "/loop/x",
        "/dangling",
        "/dangling/",
        "/slash",
        "/slash/file",
        "/file/",
        "/file/.",
        "/file/..",
        "/abs/../magic",
        "/top/top/top/rel2/file",
        "/mnt/file",
        "/mnt/out/b",
        "/mnt/..",
        "/proc/..",
        "/proc/self/..",
        "/proc/self/ns/mnt",
        "/nothing/x",
        "/proc/thread-self",
        "/proc/self",
        "/proc/thread-self/root/proc/self/root/file",
    ];
    let subject = Subject::start(setting);
    let reader = RefCell::new(reader());
    for (path, follow) in KNOWN.iter().flat_map(|path| [(path, true), (path, false)]) {
        for start in [Start::Cwd, Start::Directory, Start::File] {
            let spelling = Spelling { start, path: path.as_bytes().to_vec(), follow, resolve: 0 };
            check(&mut reader.borrow_mut(), &subject, &numbered(&subject, &spelling));
        }
    }
    let config = ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(spelling in spellings())| {
        check(&mut reader.borrow_mut(), &subject, &numbered(&subject, &spelling));
    });
}

#[test]
fn in_a_chroot() {
    let tree = tree();
    let enter = || enter_chroot(tree.path());
    compare(&Setting {
        enter: &enter,
        directory: Path::new("/a"),
        file: Path::new("/a/b/file"),
        thread: None,
    });
}

#[test]
fn in_a_thread_with_its_own_working_directory() {
    let tree = tree();
    let enter = || enter_chroot(tree.path());
    let (directory, file) = (Path::new("/a/b"), Path::new("/file"));
    compare(&Setting { enter: &enter, directory, file, thread: Some("/a/b") });
}

#[test]
fn in_the_tree_of_the_host() {
    let tree = tree();
    let (directory, file) = (tree.path().join("a"), tree.path().join("file"));
    let enter = || {
        private_mounts();
        chdir(tree.path()).expect("chdir");
    };
    compare(&Setting { enter: &enter, directory: &directory, file: &file, thread: None });
}

#[test]
fn with_a_working_directory_in_procfs() {
    let tree = tree();
    let enter = || {
        enter_chroot(tree.path());
        chdir("/proc").expect("chdir");
    };
    let (directory, file) = (Path::new("/proc/self"), Path::new("/mnt/file"));
    compare(&Setting { enter: &enter, directory, file, thread: None });
}

#[test]
fn with_start_and_working_directory_outside_the_root() {
    let tree = tree();
    let enter = || {
        enter_chroot(tree.path());
        chdir("/mnt").expect("chdir");
        chroot("/a").expect("chroot");
    };
    compare(&Setting { enter: &enter, directory: Path::new("."), file: Path::new("file"), thread: None });
}

#[test]
fn in_a_pid_namespace_with_its_own_procfs() {
    // The unshare lasts as long as its thread: the children that the thread forks are in the new namespace.
    let case = || {
        let tree = tree();
        unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
        let enter = || enter_chroot(tree.path());
        compare(&Setting {
            enter: &enter,
            directory: Path::new("/a"),
            file: Path::new("/file"),
            thread: None,
        });
    };
    std::thread::spawn(case).join().expect("thread");
}

/// What a subject with the credentials of `enter` gets for a handler's file of `owner`.
fn file_for(owner: u32, enter: &dyn Fn()) -> Found {
    let tree = tree();
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = tree.path().join("file");
    let opened = fs::File::open(&path).expect("open");
    nix::unistd::fchown(&opened, Some(Uid::from_raw(owner)), None).expect("chown");
    let id = file::file_facts(opened.as_fd()).expect("statx").id;
    let subject = Subject::start(&Setting {
        enter,
        directory: Path::new("/"),
        file: Path::new("/dev/null"),
        thread: None,
    });
    let mut reader = Reader::new(
        TenantRoot { pid: std::process::id() },
        super::super::DeviceFiles { memfd_device: id.device, ..files() },
    )
    .expect("reader");
    let path = path.into_os_string().into_vec();
    let own = subject.look_up(&Spelling { start: Start::Cwd, path, follow: true, resolve: 0 });
    assert_eq!(own.result, Ok(id));
    let (dirfd, address) = (libc::AT_FDCWD, own.address);
    match ask(&mut reader, subject.tid, ReaderKind::Open { flags: 0, dirfd, address, resolve: 0 }) {
        Found::File(found) if found == id => Found::Memory(Vec::new()),
        other => other,
    }
}

#[test]
fn a_reopened_file_is_for_users_that_may_open_it() {
    let granted = Found::Memory(Vec::new());
    let become_user =
        || setresuid(Uid::from_raw(1), Uid::from_raw(65534), Uid::from_raw(1)).expect("setresuid");
    assert_eq!(file_for(0, &|| {}), granted);
    assert_eq!(file_for(0, &|| become_user()), failed(Errno::EACCES));
    // All capabilities in a namespace that does not know the owner are worth nothing.
    let in_namespace = || {
        become_user();
        unshare(CloneFlags::CLONE_NEWUSER).expect("unshare");
    };
    assert_eq!(file_for(0, &in_namespace), failed(Errno::EACCES));
    // Effective uid of the owner, another file uid: it can take it back at any time.
    let other_file_uid = || {
        setfsuid(Uid::from_raw(1));
    };
    assert_eq!(file_for(0, &other_file_uid), granted);
    // Another effective uid, the file uid of the owner.
    let owners_file_uid = || {
        setresuid(Uid::from_raw(0), Uid::from_raw(1), Uid::from_raw(0)).expect("setresuid");
        setfsuid(Uid::from_raw(0));
    };
    assert_eq!(file_for(0, &owners_file_uid), granted);
    // Neither, but CAP_DAC_OVERRIDE over the owner.
    assert_eq!(file_for(1, &|| {}), granted);
}

#[test]
fn limits_are_those_of_the_kernel() {
    let tree = tree();
    let enter = || chdir(tree.path()).expect("chdir");
    let file = tree.path().join("file");
    let subject =
        Subject::start(&Setting { enter: &enter, directory: tree.path(), file: &file, thread: None });
    let mut reader = reader();
    for link in 0..42 {
        let target = if link == 0 { "file".to_owned() } else { format!("chain{}", link - 1) };
        symlink(target, tree.path().join(format!("chain{link}"))).expect("symlink");
    }
    for path in
        ["chain38", "chain39", "chain40", "chain41", "/proc/self/cwd/chain38", "/proc/self/cwd/chain37"]
    {
        let spelling = Spelling { start: Start::Cwd, path: path.into(), follow: true, resolve: 0 };
        check(&mut reader, &subject, &spelling);
    }
    for length in [255, 256, 4095] {
        let spelling = Spelling { start: Start::Cwd, path: vec![b'x'; length], follow: true, resolve: 0 };
        check(&mut reader, &subject, &spelling);
    }
    let slashes = Spelling { start: Start::Cwd, path: vec![b'/'; 4095], follow: true, resolve: 0 };
    check(&mut reader, &subject, &slashes);
    check(&mut reader, &subject, &Spelling { path: vec![b'/'; 4096], ..slashes.clone() });
    let bad = ReaderKind::Open {
        flags: 0,
        dirfd: 9999,
        address: subject.look_up(&Spelling { path: b"x".into(), ..slashes }).address,
        resolve: 0,
    };
    assert_eq!(ask(&mut reader, subject.tid, bad), failed(Errno::EBADF));
}
