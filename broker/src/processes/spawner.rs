//! The process that starts the others: tender (and with it the tenant), zygote, reader.
//!
//! It is forked before the broker drops its privileges and holds nothing but a socket to the broker. It has one
//! thread, no signal handler, and takes orders from the broker only. When the broker's end of the socket closes, it
//! ends; so do its children, each by its own socket.

pub mod message;
pub mod tender;

mod reader;
mod zygote;

use crate::artifact;
use crate::launch::cgroup::Group;
use crate::launch::{Launch, OnBrokerDeath};
use crate::live::Publication;
use crate::sandbox::confine;
use crate::sandbox::filter::Bpf;
use crate::sys::fork;
use crate::sys::process::pidfd_open;
use crate::sys::socket::{Channel, ChannelError};
use message::{Start, Started};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the spawner reaps children that have ended, milliseconds.
const REAP: u16 = 1000;

/// Serves the broker until it is gone. Returns the exit status.
pub fn serve(socket: OwnedFd, launch: &Launch) -> i32 {
    // Children get no signal that the terminal sends to the foreground job.
    let _ = nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0));
    launch.name_process(c"kcov-spawner");
    // The workers of a zygote that died come here, and are reaped.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    // Once, and not by each reader, as callers wait for those.
    let Ok(readers_filter) = confine::reader_filter() else { return 1 };
    let mut channel = Channel::from(socket);
    let mut tender = None;
    let mut group = None;
    let asked = Arc::new(AtomicBool::new(false));
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
                    hold_out(&asked);
                }
                // The user's descriptors were for the command.
                if for_tender {
                    let cover = launch.cover.as_ref().map(AsFd::as_fd);
                    let kept: Vec<_> = [channel.as_fd()].into_iter().chain(cover).collect();
                    if confine::keep_only(&kept).is_err() {
                        return 1;
                    }
                }
            }
            Err(ChannelError::Closed) => {
                // The broker may open no file any more, or was killed.
                launch.publication.iter().for_each(Publication::withdraw);
                outlive_children(tender, launch.on_broker_death, &asked);
                group.into_iter().for_each(Group::remove);
                return 0;
            }
            Err(_) => return 1,
        }
    }
}

/// Has signals not end this process, and with it nothing else: the order to end, which may come as soon as the broker
/// is killed; and what the kernel sends to the helpers' group then if one of them stands still. Not before the tender
/// is started: the command would inherit it.
fn hold_out(asked: &Arc<AtomicBool>) {
    fork::ignore(Signal::SIGHUP);
    let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, asked.clone());
}

/// Waits for the children, which all end by themselves now, so that none is left to somebody else. One that cannot
/// end, in a file system that does not answer, is left after a while. A tenant that goes on without its broker has all
/// the time that it wants, until `SIGTERM` says otherwise.
fn outlive_children(mut tender: Option<Pid>, on_broker_death: OnBrokerDeath, asked: &AtomicBool) {
    const ROUNDS: u32 = 2000;
    /// While they end.
    const SHORT: Duration = Duration::from_millis(1);
    /// While the tenant does as it likes.
    const LONG: Duration = Duration::from_millis(50);
    let (mut rounds, mut patient) = (0, on_broker_death == OnBrokerDeath::Enosys);
    while rounds < ROUNDS {
        if patient && tender.is_some() && asked.load(Ordering::Relaxed) {
            patient = false;
            // Its children come here then, and are killed below.
            if let Some(tender) = tender {
                // Reaped by nobody but this process: the number is its own.
                let _ = kill(tender, Signal::SIGKILL);
            }
        }
        // Without its tender the tenant has come here, and nobody else ends it.
        if tender.is_none() {
            tender::kill_children();
        }
        if !reap(&mut tender) {
            return;
        }
        let ends = !patient || tender.is_none();
        rounds += u32::from(ends);
        std::thread::sleep(if ends { SHORT } else { LONG });
    }
}

/// Reaps children that have ended; their ends are seen by pidfd. Forgets the tender if it is one. Says whether any
/// child is left.
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

/// Carries out one order and answers it.
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
        Start::Reader { tender, placeholders, devices } => {
            launch.name_process(c"kcov-reader");
            reader::serve(descriptors, &launch.quotas, tender, placeholders, devices, readers_filter)
        }
    });
    let started = forked.and_then(|pid| Ok((pid, pidfd_open(pid.as_raw() as u32, false)?)));
    match started {
        Ok((pid, pidfd)) => channel.send(&Started::Pid(pid.as_raw() as u32), &[&pidfd]).map(|()| Some(pid)),
        Err(errno) => channel.send(&Started::Failed(errno as i32), &[]).map(|()| None),
    }
}

/// The group of the tenant's zygotes, if one is wanted; made for the first of them.
fn make_group(launch: &Launch, group: &mut Option<Group>) -> Result<(), Errno> {
    if group.is_none() {
        *group = launch.cgroup.as_ref().map(Group::make).transpose()?;
    }
    Ok(())
}
