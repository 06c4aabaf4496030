//! Turns a fork of the spawner into the zygote, by executing the worker program.

use crate::launch::Launch;
use crate::launch::cgroup::Group;
use crate::launch::preload;
use crate::sandbox::confine;
use crate::sys::fork::{self, Pointers};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Descriptor number of the zygote's socket; the coverage map has the next number.
const FIRST: i32 = 3;

/// Executes the worker program as the zygote, in its control group. Returns the exit status if that fails.
pub fn exec(descriptors: &[OwnedFd], launch: &Launch, group: Option<&Group>) -> i32 {
    match group.map_or(Ok(()), Group::enter).and_then(|()| try_exec(descriptors, launch)) {
        Ok(never) => match never {},
        Err(_) => 126,
    }
}

fn environment(launch: &Launch) -> Vec<CString> {
    let preload = launch.preload.as_ref().map(|libraries| libraries.to_string_lossy());
    preload::environment(preload.as_deref(), false)
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

fn try_exec(descriptors: &[OwnedFd], launch: &Launch) -> Result<std::convert::Infallible, Errno> {
    let socket = descriptors.first().ok_or(Errno::EBADF)?;
    // ps shows the name of the tenant.
    let of_tenant = launch.service.as_ref().map_or_else(String::new, |service| format!(": {}", service.name));
    let argv = [
        format!("kcov-worker{of_tenant}"),
        "zygote".to_owned(),
        format!("--uid={}", launch.jail_id),
        format!("--parent={}", nix::unistd::getppid()),
    ];
    let bounds = |data| [format!("--memory={data}"), format!("--areas={}", launch.quotas.total)];
    let memory = launch.worker_memory.into_iter().flat_map(bounds);
    let cover = launch.cover.as_ref().map(AsFd::as_fd);
    let argv = argv.into_iter().chain(memory).chain(cover.map(|_| "--cover".to_owned()));
    let argv = argv.filter_map(|argument| CString::new(argument).ok());
    let argv: Vec<CString> = argv.chain(launch.handlers.iter().cloned()).collect();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // The descriptors inherited from the user are only for the command.
    let kept: Vec<_> = [socket.as_fd()].into_iter().chain(cover).collect();
    confine::keep_only(&kept).map_err(|_| Errno::EIO)?;
    fork::place(&kept, FIRST)?;
    Err(fork::exec(&launch.worker, &Pointers::from(argv), &Pointers::from(environment(launch))))
}
