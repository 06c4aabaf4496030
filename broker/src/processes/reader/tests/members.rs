//! Membership checks and the protocol of the reader.

use super::super::procfs::Procfs;
use super::super::task::Task;
use super::subject::{Setting, Subject};
use super::{Found, Reader, Sockets, TenantRoot, ask, failed, files, reader};
use crate::launch::quotas::Quotas;
use crate::processes::reader::allowance::Allowance;
use crate::sys::fork;
use crate::sys::shared::SharedWords;
use kcov_proto::message::{self, ReaderKind, ReaderRequest};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

const NOTHING: ReaderKind = ReaderKind::Memory { address: 0, length: 0 };

fn subject(thread: Option<&'static str>) -> Subject {
    let (directory, file) = (Path::new("/"), Path::new("/proc/version"));
    Subject::start(&Setting { enter: &|| {}, directory, file, thread })
}

#[test]
fn only_descendants_are_members() {
    let mut reader = reader();
    let own = std::process::id();
    let done = Found::Memory(Vec::new());
    assert_eq!(ask(&mut reader, subject(None).tid, NOTHING), done);
    assert_eq!(ask(&mut reader, subject(Some("/")).tid, NOTHING), done);
    for outsider in [0, 1, own, std::os::unix::process::parent_id()] {
        assert_eq!(ask(&mut reader, outsider, NOTHING), failed(Errno::EPERM), "{outsider}");
    }
    for nobody in [u32::MAX, i32::MAX as u32] {
        let reply = ask(&mut reader, nobody, NOTHING);
        assert!(reply == Found::Gone || reply == failed(Errno::EINVAL), "{reply:?}");
    }
}

#[test]
fn processes_of_another_tenant_are_not_members() {
    let (first, second) = (subject(None), subject(None));
    let mut reader = Reader::new(TenantRoot { pid: first.tid }, files()).expect("reader");
    assert_eq!(ask(&mut reader, first.tid, NOTHING), failed(Errno::EPERM));
    assert_eq!(ask(&mut reader, second.tid, NOTHING), failed(Errno::EPERM));
}

#[test]
fn a_known_member_is_forgotten_when_reaped() {
    let mut reader = reader();
    let member = subject(None);
    let tid = member.tid;
    assert_eq!(ask(&mut reader, tid, NOTHING), Found::Memory(Vec::new()));
    drop(member);
    assert_eq!(ask(&mut reader, tid, NOTHING), Found::Gone);
}

#[test]
fn more_threads_than_the_cache_holds_are_served() {
    let mut reader = reader();
    let kept = subject(None);
    for _ in 0..300 {
        let child = fork::child(|| {
            std::thread::sleep(Duration::from_secs(5));
            0
        })
        .expect("fork");
        assert_eq!(ask(&mut reader, child.as_raw() as u32, NOTHING), Found::Memory(Vec::new()));
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).expect("kill");
        waitpid(child, None).expect("waitpid");
    }
    assert_eq!(ask(&mut reader, kept.tid, NOTHING), Found::Memory(Vec::new()));
}

/// Exit status of a reader that receives `bytes`, or EOF if there are none.
fn end_after(bytes: Option<&[u8]>) -> WaitStatus {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair");
    let keep = ours.as_raw_fd();
    let tenant = TenantRoot { pid: std::process::id() };
    let child = fork::child(|| {
        nix::unistd::close(keep).expect("close");
        let copy = || theirs.try_clone().expect("dup");
        let busy = SharedWords::new(c"busy", 512).expect("page");
        let allowance = Allowance::new(&Quotas::default()).expect("an allowance");
        let sockets = Sockets { requests: copy(), broker: copy(), listener: copy(), busy, allowance };
        super::super::serve(sockets, tenant, files())
    })
    .expect("fork");
    drop(theirs);
    if let Some(bytes) = bytes {
        send(ours.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).expect("send");
    } else {
        drop(ours);
        return waitpid(child, None).expect("waitpid");
    }
    waitpid(child, None).expect("waitpid")
}

#[test]
fn a_peer_that_hangs_up_or_breaks_the_protocol_ends_the_reader() {
    let code = |status| match status {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(end_after(None)), 0);
    assert_eq!(code(end_after(Some(&[0xff; 40]))), 2);
    assert_eq!(code(end_after(Some(&[0; 4000]))), 2);
    let mut bytes = Vec::new();
    let request = ReaderRequest { id: 1, tid: 1, what: NOTHING };
    message::encode(&request, &mut bytes).expect("encode");
    // A socket is not a listener, which the reader treats as its own failure.
    assert_eq!(code(end_after(Some(&bytes))), 1);
}

#[test]
fn orphans_are_reparented_to_the_root() {
    let case = || {
        set_child_subreaper(true).expect("prctl");
        let mut reader = reader();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("pair");
        let middle = fork::child(|| {
            let orphan = fork::child(|| {
                std::thread::sleep(Duration::from_secs(5));
                0
            });
            let number = orphan.expect("fork").as_raw().to_ne_bytes();
            std::io::Write::write_all(&mut &theirs, &number).expect("write");
            0
        });
        waitpid(middle.expect("fork"), None).expect("waitpid");
        let mut number = [0; 4];
        std::io::Read::read_exact(&mut &ours, &mut number).expect("read");
        let tid = u32::from_ne_bytes(number);
        assert_eq!(ask(&mut reader, tid, NOTHING), Found::Memory(Vec::new()));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(tid as i32), nix::sys::signal::Signal::SIGKILL)
            .expect("kill");
    };
    let child = fork::child(|| i32::from(std::panic::catch_unwind(case).is_err())).expect("fork");
    assert_eq!(waitpid(child, None).expect("waitpid"), WaitStatus::Exited(child, 0));
}

/// Prints the cost of a request; checks nothing.
#[test]
fn costs_are_printed() {
    let (member, mut reader) = (subject(None), reader());
    let mut price = |name: &str, text: &[u8]| {
        let spelling = super::subject::Spelling {
            start: super::subject::Start::Cwd,
            path: text.to_vec(),
            follow: true,
            resolve: 0,
        };
        let address = member.look_up(&spelling).address;
        let what = ReaderKind::Open { flags: 0, dirfd: nix::libc::AT_FDCWD, address, resolve: 0 };
        println!("{name}: {:?}", best(|| drop(ask(&mut reader, member.tid, what.clone()))));
    };
    price("absolute path", b"/etc/ld.so.cache");
    price("through a link of one mount", b"/lib/x86_64-linux-gnu/libc.so.6");
    price("no such file", b"/etc/no-such-file");
    price("relative path", b"etc/ld.so.cache");
    price("magic link", b"/proc/self/fd/0");
    println!("a thread seen first: {:?}", best(|| drop(ask(&mut super::reader(), member.tid, NOTHING))));
}

/// Time of one call in the fastest of many batches.
fn best(mut call: impl FnMut()) -> Duration {
    let batch = |call: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..100).for_each(|_| call());
        started.elapsed() / 100
    };
    (0..50).map(|_| batch(&mut call)).min().unwrap_or_default()
}

#[test]
fn without_thread_pidfds_group_and_start_time_identify_a_thread() {
    let procfs = Procfs::open().expect("procfs");
    for member in [subject(None), subject(Some("/"))] {
        let pinned = Task::open(&procfs, member.tid).expect("task");
        let grouped = Task::open_by_group(&procfs, member.tid).expect("task");
        assert_eq!(grouped.info(&procfs), pinned.info(&procfs));
        assert!(grouped.holds_number(&procfs));
        drop(member);
        assert!(!grouped.holds_number(&procfs));
        assert_eq!(grouped.info(&procfs), Err(Errno::ESRCH));
    }
}
