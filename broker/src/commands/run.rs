//! `kcov-broker run`: runs one command under its own broker.

use crate::broker::process;
use crate::config::options::{Invocation, TenantOptions};
use crate::front;
use crate::launch::Launch;
use crate::launch::programs::{self, CommandError};
use crate::launch::publication::Publication;
use crate::launch::quotas::QuotaArgs;
use crate::launch::rootless;
use crate::live::catalogue;
use crate::logs::{self, LogFormat};
use crate::sys::{self, fork, socket};
use anyhow::Context;
use kcov_proto::view::Name;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::getpgrp;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXIT_STATUS: &str = "Exit status:\n  \
    The status of COMMAND, or 128 plus the number of the signal that killed it.\n  \
    125 if kcov-broker fails, 126 if COMMAND cannot be executed, 127 if it is not found.";

/// Options of `kcov-broker run`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct RunArgs {
    #[command(flatten)]
    options: TenantOptions,

    #[command(flatten)]
    quotas: QuotaArgs,

    /// Name of the run in `kcov-broker top` and `status`: 1 to 64 visible ASCII characters [default: the name
    /// of COMMAND]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    name: Option<Name>,

    /// Format of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

    /// Log more: -v for events of the device, -vv for events of processes
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// The command to run and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs a command. Returns its exit status.
///
/// # Errors
/// If kcov-broker itself fails before the command runs.
pub fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    run_covered(args, None).map(ExitCode::from)
}

/// Like [`run`]. Marks covered code in the coverage map `cover`.
///
/// # Errors
/// As [`run`].
pub fn run_covered(args: RunArgs, cover: Option<OwnedFd>) -> anyhow::Result<u8> {
    logs::start(args.log_format, args.verbose);
    sys::filter::check_kernel()?;
    let on_broker_death = args.options.on_broker_death;
    let report = args.options.report.clone();
    let launch = match args.launch(cover) {
        Ok(launch) => launch,
        Err(error) => match error.downcast_ref::<CommandError>() {
            Some(command) => {
                eprintln!("kcov-broker: {command}");
                return Ok(command.status());
            }
            None => return Err(error),
        },
    };
    let create = |path: &PathBuf| {
        File::create(path).with_context(|| format!("cannot write the report {}", path.display()))
    };
    let report = report.as_ref().map(create).transpose()?;
    let (ours, theirs) = socket::pair()?;
    let held = front::HeldSignals::hold()?;
    front::adopt_orphans().context("cannot become a subreaper")?;
    let broker = fork::child(|| {
        fork::close_copy(&ours);
        launch.leave_job();
        held.discard();
        process::run(launch, theirs, report)
    })?;
    // While the tenant starts: remove the segments of brokers that were killed.
    catalogue::sweep(false);
    front::wait(ours, broker, &held, on_broker_death).context("cannot watch the broker")
}

impl RunArgs {
    fn launch(self, cover: Option<OwnedFd>) -> anyhow::Result<Launch> {
        let options = self.options();
        let RunArgs { name, command, .. } = self;
        let program = programs::find(command.first().context("no command given")?)?;
        let mut mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, None, Some(&mut mask))?;
        let publication = Publication::new(name.unwrap_or_else(|| name_of(&program)), options.publish);
        options.launch(Invocation {
            program,
            argv: command,
            environment: programs::environment(std::env::vars_os()),
            group: getpgrp(),
            mask,
            jail_id: rootless::jail_id(),
            cover,
            publication,
            service: None,
        })
    }

    /// The options of the tenant.
    fn options(&self) -> TenantOptions {
        TenantOptions { quotas: self.quotas.0, ..self.options.clone() }
    }

    /// The command and its arguments.
    pub(crate) fn command(&self) -> &[OsString] {
        &self.command
    }

    /// The files whose code is covered: the worker program, then the libraries in their order.
    ///
    /// # Errors
    /// If one of them does not exist.
    pub(crate) fn modules(&self) -> anyhow::Result<Vec<PathBuf>> {
        self.options.modules()
    }
}

/// The name of a run that was given none.
fn name_of(program: &Path) -> Name {
    Name::like(&program.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests;
