//! The broker's process, from the fork to its end.

use super::{Broker, StartError};
use crate::front;
use crate::front::messages::FrontEvent;
use crate::launch::{Launch, descriptor_limit};
use crate::live::publisher::Publisher;
use crate::processes::spawner;
use crate::processes::spawner_client::SpawnerClient;
use crate::sandbox::confine;
use crate::sys::fork;
use crate::sys::process::pidfd_open;
use crate::sys::socket::{self, Channel};
use crate::sys::standard_error;
use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Runs a broker in this process, which is a new one and has left its job. Writes counters to `report` at the
/// end. Returns the exit status.
pub fn run(launch: Launch, front: OwnedFd, report: Option<File>) -> i32 {
    launch.name_process(c"kcov-broker");
    match serve(launch, &front, report) {
        Ok(()) => 0,
        Err(error) => {
            let failed = FrontEvent::Failed { message: format!("{error:#}"), status: front::BROKER_FAILED };
            // If the front is gone, nobody waits for the message.
            let _ = Channel::from(front).send(&failed, &[]);
            1
        }
    }
}

fn serve(launch: Launch, front: &OwnedFd, report: Option<File>) -> anyhow::Result<()> {
    let launch = Rc::new(launch);
    let (spawner, spawner_pid) = start_spawner(&launch, front)?;
    // After the fork of the spawner: the command must have standard error as it is.
    standard_error::detach();
    // The command holds the terminal and the pipes of the job now. A reader of its output must see the end of
    // it, so the broker keeps none of them.
    let report_file = report.as_ref().map(AsFd::as_fd);
    let cover = launch.cover.as_ref().map(AsFd::as_fd);
    let keep: Vec<_> = [spawner.as_fd(), front.as_fd()].into_iter().chain(report_file).chain(cover).collect();
    confine::keep_only(&keep)?;
    descriptor_limit::raise(launch.quotas.instances);
    let publisher = launch.publication.as_ref().and_then(Publisher::open);
    confine::broker().context("cannot give up privileges")?;
    let front_process =
        pidfd_open(getppid().as_raw().cast_unsigned(), false).context("cannot open a pidfd of the front")?;
    let mut broker = Broker::start(
        launch,
        SpawnerClient::new(spawner, spawner_pid),
        front.try_clone()?.into(),
        front_process,
        publisher,
    )
    .map_err(|error| match error {
        StartError::Step { .. } => anyhow::Error::from(error).context("cannot set up the tenant"),
        other => other.into(),
    })?;
    // The front watches the spawner if this process dies first.
    broker.tell_front(&FrontEvent::Running { spawner: spawner_pid.as_raw().cast_unsigned() });
    let result = broker.run();
    if let Err(error) = &result {
        broker.abort(error);
    }
    let counts = broker.finish();
    if let Some(mut file) = report {
        writeln!(file, "{}", serde_json::to_string_pretty(&counts)?).context("cannot write the report")?;
    }
    broker.close();
    result.map_err(Into::into)
}

/// Forks the spawner. Returns the socket to it and its process id.
fn start_spawner(launch: &Rc<Launch>, front: &OwnedFd) -> anyhow::Result<(OwnedFd, Pid)> {
    let (ours, theirs) = socket::pair()?;
    let inherited = launch.clone();
    let spawner = fork::child(|| {
        fork::close_copy(&ours);
        fork::close_copy(front);
        spawner::serve(theirs, &inherited)
    })
    .context("cannot fork the spawner")?;
    // This process reaps what the spawner leaves behind if it is killed.
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    // After the fork, because the command must not inherit ignored signals.
    for signal in [Signal::SIGTTOU, Signal::SIGIO, Signal::SIGXFSZ, Signal::SIGHUP, Signal::SIGPIPE] {
        fork::ignore(signal);
    }
    Ok((ours, spawner))
}
