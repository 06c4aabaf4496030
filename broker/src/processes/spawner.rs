//! The spawner process: starts the tender (and with it the tenant), zygotes, readers and artifact writers.
//!
//! It is forked before the broker drops its privileges, and only holds a socket to the broker. It has one thread and
//! takes orders only from the broker. When the broker closes its socket, the spawner ends. Its children end likewise,
//! each because its own socket closes.

pub mod message;
pub mod tender;

mod reader;
mod zygote;

use crate::artifact;
use crate::launch::cgroup::Group;
use crate::launch::publication::Publication;
use crate::launch::{Launch, OnBrokerDeath};
use crate::processes::ending::{AGAIN_TIME, end_children};
use crate::sandbox::confine;
use crate::sandbox::filter::Bpf;
use crate::sys::fork;
use crate::sys::process::pidfd_open;
use crate::sys::socket::{Channel, ChannelError};
use message::{Start, Started};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time between two attempts to reap children, in milliseconds.
const REAP: u16 = 1000;

/// Main function of the spawner. Serves the broker until it is gone; returns the exit status.
pub fn serve(socket: OwnedFd, launch: &Launch) -> i32 {
    // Keeps signals of the terminal, which go to the foreground job, away from the helpers.
    let _ = nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0));
    launch.name_process(c"kcov-spawner");
    // Workers of a dead zygote are reparented to this process and reaped.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    // Built once and not by each reader: callers wait while a reader starts.
    let Ok(readers_filter) = confine::reader_filter() else { return 1 };
    let mut channel = Channel::from(socket);
    let mut tender = None;
    let mut group = None;
    let terminated = Arc::new(AtomicBool::new(false));
    loop {
        reap(&mut tender);
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(REAP)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return 1,
        }
        match channel.receive::<Start>() {
            Ok((order, descriptors)) => {
                let for_tender = matches!(order, Start::Tender { .. });
                let Ok(started) =
                    start(order, descriptors, launch, &readers_filter, &mut group, &mut channel)
                else {
                    return 1;
                };
                if for_tender {
                    tender = started;
                    ignore_signals(&terminated);
                }
                // The descriptors inherited from the user are only for the command.
                if for_tender {
                    let cover = launch.cover.as_ref().map(AsFd::as_fd);
                    let kept: Vec<_> = [channel.as_fd()].into_iter().chain(cover).collect();
                    if confine::keep_only(&kept).is_err() {
                        return 1;
                    }
                }
            }
            Err(ChannelError::Closed) => {
                // Done here because the broker has no right to open files, or was killed.
                launch.publication.iter().for_each(Publication::withdraw);
                outlive_children(tender, launch.on_broker_death, &terminated);
                group.into_iter().for_each(Group::remove);
                return 0;
            }
            Err(_) => return 1,
        }
    }
}

/// Keeps signals from ending the spawner before its children: SIGTERM, which sets `terminated`, and SIGHUP, which the
/// kernel sends to an orphaned process group with a stopped member. Called after the tender has been started, because
/// the command would inherit this.
fn ignore_signals(terminated: &Arc<AtomicBool>) {
    fork::ignore(Signal::SIGHUP);
    let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, terminated.clone());
}

/// Ends the children: the tender, which ends the tenant's processes first, and all others. With [`OnBrokerDeath::Enosys`]
/// the tenant may run on until it ends by itself or until SIGTERM.
fn outlive_children(mut tender: Option<Pid>, on_broker_death: OnBrokerDeath, terminated: &AtomicBool) {
    /// Interval while the tenant runs on.
    const LONG: Duration = Duration::from_millis(50);
    /// Interval while children are ending.
    const SHORT: Duration = Duration::from_millis(1);
    /// Time to end in order: the tender ends the tenant, and an artifact is written to its end.
    const IN_ORDER: Duration = Duration::from_millis(500);
    let runs_on = on_broker_death == OnBrokerDeath::Enosys;
    let mut grace = IN_ORDER;
    while reap(&mut tender) {
        if runs_on && tender.is_some() {
            if terminated.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(LONG);
            continue;
        }
        if tender.is_none() || grace.is_zero() {
            break;
        }
        std::thread::sleep(SHORT);
        grace = grace.saturating_sub(SHORT);
    }
    // This process gets what the tender leaves. The broker, the front or the manager names what does not end, because it
    // gets that from this process.
    let _ = end_children(None, AGAIN_TIME, |_| true);
}

/// Reaps dead children; sets `tender` to `None` if it is among them. Returns whether any child is left. The broker sees
/// their ends through pidfds.
fn reap(tender: &mut Option<Pid>) -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(status) if status.pid() == *tender => *tender = None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Executes one order and sends the reply. Returns the pid of the new process, unless starting it failed.
fn start(
    order: Start,
    descriptors: Vec<OwnedFd>,
    launch: &Launch,
    readers_filter: &Bpf,
    group: &mut Option<Group>,
    channel: &mut Channel,
) -> Result<Option<Pid>, ChannelError> {
    if matches!(order, Start::Zygote)
        && let Err(errno) = make_group(launch, group)
    {
        return channel.send(&Started::NoGroup(errno as i32), &[]).map(|()| None);
    }
    let forked = fork::child(|| match order {
        Start::Tender { claims } => tender::serve(descriptors, launch, &claims),
        Start::Zygote => zygote::exec(&descriptors, launch, group.as_ref()),
        Start::Artifact(facts) => artifact::write::serve(descriptors, &facts, launch),
        Start::Sightings(seen) => artifact::write::count(&seen, launch),
        Start::Reader { tender, placeholder, devices } => {
            launch.name_process(c"kcov-reader");
            reader::serve(descriptors, &launch.quotas, tender, placeholder, devices, readers_filter)
        }
    });
    let started = forked.and_then(|pid| Ok((pid, pidfd_open(pid.as_raw() as u32, false)?)));
    match started {
        Ok((pid, pidfd)) => channel.send(&Started::Pid(pid.as_raw() as u32), &[&pidfd]).map(|()| Some(pid)),
        Err(errno) => channel.send(&Started::Failed(errno as i32), &[]).map(|()| None),
    }
}

/// Creates the control group of the zygotes, if one is configured and does not exist yet.
fn make_group(launch: &Launch, group: &mut Option<Group>) -> Result<(), Errno> {
    if group.is_none() {
        *group = launch.cgroup.as_ref().map(Group::make).transpose()?;
    }
    Ok(())
}
