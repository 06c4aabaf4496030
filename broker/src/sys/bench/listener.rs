//! The smallest use of seccomp notifications: install, receive, answer.
//!
//! It shares no code with the product: it is the limit that the product is measured against.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`include/uapi/linux/seccomp.h`, Linux 6.6): the kernel moves
/// supervisor and target to one CPU.
const SYNC_WAKE_UP: u64 = 1;

/// A seccomp listener.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// `ENOENT` if the target died meanwhile or none is left; `EINTR`.
    pub fn receive(&self) -> nix::Result<libc::seccomp_notif> {
        // SAFETY: the structure is plain integers, for which zero is valid; the kernel demands zeroes.
        let mut notification: libc::seccomp_notif = unsafe { mem::zeroed() };
        // SAFETY: NOTIF_RECV writes one `seccomp_notif`, which `notification` is, and keeps no pointer.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification) };
        Errno::result(result)?;
        Ok(notification)
    }

    /// Lets the kernel run the call.
    ///
    /// # Errors
    /// `ENOENT` if the target is gone.
    pub fn resume(&self, id: u64) -> nix::Result<()> {
        self.send(libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        })
    }

    /// Answers the call with `value`.
    ///
    /// # Errors
    /// `ENOENT` if the target is gone.
    pub fn answer(&self, id: u64, value: i64) -> nix::Result<()> {
        self.send(libc::seccomp_notif_resp { id, val: value, error: 0, flags: 0 })
    }

    /// Adds a descriptor of `file` to the target and answers the call with its number, in one step.
    ///
    /// # Errors
    /// `ENOENT` if the target is gone; `EMFILE` if it has no free descriptor.
    pub fn give(&self, id: u64, file: BorrowedFd<'_>) -> nix::Result<()> {
        let addition = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: 0,
        };
        // SAFETY: NOTIF_ADDFD reads one `seccomp_notif_addfd`, which `addition` is, and keeps no pointer.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const addition) };
        Errno::result(result).map(drop)
    }

    fn send(&self, mut response: libc::seccomp_notif_resp) -> nix::Result<()> {
        // SAFETY: NOTIF_SEND reads one `seccomp_notif_resp`, which `response` is, and keeps no pointer.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
        Errno::result(result).map(drop)
    }
}

/// Starts `command` under a filter that notifies the system calls of `numbers`, and returns its listener.
///
/// # Errors
/// Those of the spawn, of `seccomp(2)` and of the transfer of the listener.
pub fn spawn(mut command: Command, numbers: &[libc::c_long]) -> io::Result<(Child, Listener)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(io::Error::from)?;
    let mut filter = filter(numbers);
    // SAFETY: the hook runs in the forked child of a process with one thread (`bench-client` starts none
    // before), so the allocations of `sendmsg` find the allocator unlocked; the filter notifies none of the
    // calls from here to the exec, so the child does not wait for a supervisor that waits for it.
    unsafe {
        command.pre_exec(move || {
            let listener = install(&mut filter)?;
            let fds = [listener.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None)?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    drop(command);
    let listener = take(&ours)?;
    // Not in the child: `numbers` may contain ioctl. Kernels before 6.6 refuse the flag; the product works
    // without it there too. SAFETY: NOTIF_SET_FLAGS takes its flags by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    Ok((child, Listener(listener)))
}

/// Installs `filter` on this thread, permanently, and returns its listener.
fn install(filter: &mut [libc::sock_filter]) -> io::Result<OwnedFd> {
    nix::sys::prctl::set_no_new_privs()?;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `program` points at `len` instructions that outlive the call; the kernel copies them.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let listener = Errno::result(listener)?;
    // SAFETY: the call succeeded, so its value is a new descriptor that has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as RawFd) })
}

/// Takes the descriptor that the child sent before its exec.
fn take(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let [fd] = fds[..]
        {
            // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::Error::other("the target sent no listener"))
}

/// Notifies the calls of `numbers` and allows the rest. Ignores the architecture: only this program runs
/// under it.
fn filter(numbers: &[libc::c_long]) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let give = |action: u32| statement(libc::BPF_RET | libc::BPF_K, action);
    let number_at = mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number_at)];
    for &number in numbers {
        // If equal, go on with the next instruction; else skip it.
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        filter.push(libc::sock_filter { code, jt: 0, jf: 1, k: number as u32 });
        filter.push(give(libc::SECCOMP_RET_USER_NOTIF));
    }
    filter.push(give(libc::SECCOMP_RET_ALLOW));
    filter
}

/// Returns device and inode number of descriptor `fd` of thread `tid`, by one `statx`.
///
/// # Errors
/// `ENOENT` if the descriptor or the thread is gone.
pub fn identity(tid: u32, fd: i32) -> io::Result<(u64, u64)> {
    // "/proc/" and "/fd/" with two numbers of at most 11 characters, and the NUL.
    let mut path = [0u8; 40];
    write!(&mut path[..39], "/proc/{tid}/fd/{fd}")?;
    // SAFETY: the structure is plain integers, for which zero is valid.
    let mut found: libc::statx = unsafe { mem::zeroed() };
    // SAFETY: `path` ends in a NUL, since its last byte was never written; statx writes one `struct statx`.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr().cast(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_INO,
            &raw mut found,
        )
    };
    Errno::result(result)?;
    Ok((u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor), found.stx_ino))
}
