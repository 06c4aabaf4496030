//! The limit: the smallest supervisor that can serve a workload, or none for a workload that needs none.
//!
//! It has one process with one thread that receives a call, does the necessary work, and answers. It checks
//! nothing, because its only client is this program.

use super::client::SUBCOMMAND;
use super::workload::Workload;
use crate::sys::bench::listener::{self, Listener};
use anyhow::{Context, Result, bail};
use kcov_proto::message::MAX_READ;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::hint::black_box;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, ExitStatus};

/// Runs the client of `workload` under a bare supervisor until it exits.
///
/// # Errors
/// If it cannot be started, or fails.
pub fn supervise(workload: Workload) -> Result<ExitCode> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SUBCOMMAND).arg(workload.name());
    if notified(workload).is_empty() {
        return ended(command.status().context("start the client")?);
    }
    let (mut child, listener) = listener::spawn(command, notified(workload)).context("start the client")?;
    let mut buffer = vec![0; MAX_READ];
    while let Some(notification) = next(&listener, &mut child)? {
        match serve(workload, &listener, &notification, &mut buffer) {
            // ENOENT: the caller died.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context("answer a notification"),
        }
    }
    ended(child.wait()?)
}

fn ended(status: ExitStatus) -> Result<ExitCode> {
    if status.success() { Ok(ExitCode::SUCCESS) } else { bail!("the client ended with {status}") }
}

/// The calls that the product must trap for the same workload.
fn notified(workload: Workload) -> &'static [libc::c_long] {
    match workload {
        Workload::Noop | Workload::LiveView | Workload::Callers => &[libc::SYS_getppid],
        Workload::HandlerRead | Workload::HandlerWrite => &[libc::SYS_getppid],
        Workload::Ioctl => &[libc::SYS_openat, libc::SYS_ioctl],
        Workload::CycleSmall | Workload::CycleLarge => &[libc::SYS_openat, libc::SYS_ioctl, libc::SYS_mmap],
        Workload::DeviceOpen | Workload::FileOpen => &[],
        Workload::Program => &[
            libc::SYS_openat,
            libc::SYS_ioctl,
            libc::SYS_clone,
            libc::SYS_set_robust_list,
            libc::SYS_getppid,
            libc::SYS_wait4,
        ],
    }
}

/// The next notification; `None` if the client has exited.
fn next(listener: &Listener, child: &mut Child) -> Result<Option<libc::seccomp_notif>> {
    loop {
        match listener.receive() {
            Ok(notification) => return Ok(Some(notification)),
            Err(Errno::EINTR) => {}
            // A caller died. If the client has exited, it was the last one.
            Err(Errno::ENOENT) if child.try_wait()?.is_some() => return Ok(None),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context("receive a notification"),
        }
    }
}

fn serve(
    workload: Workload,
    listener: &Listener,
    notification: &libc::seccomp_notif,
    buffer: &mut [u8],
) -> nix::Result<()> {
    let libc::seccomp_notif { id, pid, data, .. } = notification;
    match libc::c_long::from(data.nr) {
        libc::SYS_ioctl if is_kcov(data.args[1]) => {
            if matches!(workload, Workload::Ioctl | Workload::Program) {
                // The result does not matter, only the time of the lookup.
                let _ = black_box(listener::identity(*pid, data.args[0] as i32));
            }
            listener.answer(*id, 0)
        }
        // The client opens only the device for writing.
        libc::SYS_openat if data.args[2] as i32 & libc::O_ACCMODE == libc::O_RDWR => {
            let file = memfd_create(c"kcov", MFdFlags::MFD_CLOEXEC)?;
            listener.give(*id, file.as_fd())
        }
        libc::SYS_getppid if matches!(workload, Workload::HandlerRead | Workload::HandlerWrite) => {
            let _ = black_box(move_memory(*pid, data.args, buffer));
            listener.answer(*id, 0)
        }
        _ => listener.resume(*id),
    }
}

/// Copies memory as the product's handler does. The arguments are the address, the length, and whether to
/// write.
fn move_memory(tid: u32, [address, length, write, ..]: [u64; 6], buffer: &mut [u8]) -> nix::Result<usize> {
    let buffer = &mut buffer[..length.min(MAX_READ as u64) as usize];
    let remote = [RemoteIoVec { base: address as usize, len: buffer.len() }];
    let task = Pid::from_raw(tid.cast_signed());
    match write {
        0 => process_vm_readv(task, &mut [IoSliceMut::new(buffer)], &remote),
        _ => process_vm_writev(task, &[IoSlice::new(buffer)], &remote),
    }
}

/// Whether the type byte of an ioctl request is KCOV's.
fn is_kcov(request: u64) -> bool {
    request >> 8 & 0xff == u64::from(b'c')
}
