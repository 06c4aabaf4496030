//! A child process that resolves paths on request and reports their addresses in its memory.

use crate::sys::{file, fork};
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, gettid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Where a relative path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    Cwd,
    Directory,
    File,
}

/// The arguments of one lookup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spelling {
    pub(super) start: Start,
    pub(super) path: Vec<u8>,
    pub(super) follow: bool,
    pub(super) resolve: u64,
}

/// The result of the subject's own lookup, and the address of the path in its memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) address: u64,
    pub(super) result: Result<FileId, i32>,
}

/// The first message of a subject.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Ids in its own PID namespace.
    pub(super) pid: i32,
    pub(super) tid: i32,
    pub(super) directory: i32,
    pub(super) file: i32,
}

/// The environment of a subject, set up in the child before it serves.
pub(super) struct Setting<'a> {
    /// Run in the child first: chroot, chdir, unshare.
    pub(super) enter: &'a dyn Fn(),
    /// Opened as the start directory and file, after that.
    pub(super) directory: &'a Path,
    pub(super) file: &'a Path,
    /// Serve in a thread that is not the leader, with a working directory of its own.
    pub(super) thread: Option<&'static str>,
}

/// A running subject, killed when dropped.
pub(super) struct Subject {
    pub(super) hello: Hello,
    pub(super) tid: u32,
    child: Pid,
    socket: OwnedFd,
}

impl Subject {
    /// Starts a subject. Its tid is read from procfs because it may differ in its own namespace.
    pub(super) fn start(setting: &Setting<'_>) -> Subject {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair");
        let child = fork::child(|| {
            (setting.enter)();
            live(theirs.as_fd().try_clone_to_owned().expect("dup"), setting);
            0
        })
        .expect("fork");
        drop(theirs);
        let hello: Hello = receive(&ours);
        let threads = std::fs::read_dir(format!("/proc/{child}/task")).expect("task");
        let numbers = threads.map(|entry| entry.expect("entry").file_name().into_string().expect("number"));
        let numbers: Vec<u32> = numbers.map(|number| number.parse().expect("number")).collect();
        let leader = child.as_raw() as u32;
        let tid = numbers.into_iter().find(|&tid| (tid != leader) == setting.thread.is_some());
        Subject { hello, tid: tid.expect("thread"), child, socket: ours }
    }

    /// Makes the subject look up `spelling`; returns its result.
    pub(super) fn look_up(&self, spelling: &Spelling) -> Own {
        transmit(&self.socket, spelling);
        receive(&self.socket)
    }

    /// The descriptor number of `start` in the subject.
    pub(super) fn dirfd(&self, start: Start) -> i32 {
        match start {
            Start::Cwd => libc::AT_FDCWD,
            Start::Directory => self.hello.directory,
            Start::File => self.hello.file,
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        kill(self.child, Signal::SIGKILL).expect("kill");
        waitpid(self.child, None).expect("waitpid");
    }
}

fn live(socket: OwnedFd, setting: &Setting<'_>) {
    let open = |path| open(path, OFlag::O_RDONLY, Mode::empty()).expect("open");
    let (directory, file) = (open(setting.directory), open(setting.file));
    let serve = move || {
        let (pid, tid) = (std::process::id() as i32, gettid().as_raw());
        transmit(&socket, &Hello { pid, tid, directory: directory.as_raw_fd(), file: file.as_raw_fd() });
        loop {
            let spelling: Spelling = receive(&socket);
            let path = CString::new(spelling.path.clone()).expect("path");
            let start = match spelling.start {
                Start::Cwd => AT_FDCWD,
                Start::Directory => directory.as_fd(),
                Start::File => file.as_fd(),
            };
            let last = if spelling.follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | last)
                .resolve(ResolveFlag::from_bits_truncate(spelling.resolve));
            let found = openat2(start, &*path, how).and_then(|file| file::file_facts(file.as_fd()));
            let result = found.map(|facts| facts.id).map_err(|errno: Errno| errno as i32);
            transmit(&socket, &Own { address: path.as_ptr() as u64, result });
            // The path stays where it is until the next request: nothing is freed before that.
            std::mem::forget(path);
        }
    };
    match setting.thread {
        None => serve(),
        Some(directory) => std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("unshare");
            nix::unistd::chdir(directory).expect("chdir");
            serve();
        })
        .join()
        .expect("thread"),
    }
}

fn transmit<T: Serialize>(socket: &OwnedFd, message: &T) {
    let mut bytes = Vec::new();
    kcov_proto::message::encode(message, &mut bytes).expect("encode");
    send(socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).expect("send");
}

fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> T {
    let mut bytes = [0; 8192];
    let length = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).expect("recv");
    if length == 0 {
        fork::exit_now(0);
    }
    kcov_proto::message::decode(&bytes[..length]).expect("decode")
}
