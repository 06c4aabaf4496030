//! `kcov-broker run`: from the command line to the processes.

use crate::artifact::store::{self, Bounds};
use crate::broker::{Broker, FrontEvent, StartError};
use crate::front;
use crate::launch::cgroup;
use crate::launch::descriptor_limit;
use crate::launch::preload;
use crate::launch::quotas::Quotas;
use crate::launch::rootless::{self, Shown, Standing};
use crate::launch::trace_set::{self, TraceSet};
use crate::launch::{self, CommandError, Extensions, Launch, OnBrokerDeath};
use crate::live::publisher::Publisher;
use crate::live::{self, Audience, Publication};
use crate::logs::{self, LogFormat};
use crate::processes::spawner;
use crate::processes::spawner_client::SpawnerClient;
use crate::sandbox::confine;
use crate::sys;
use crate::sys::fork;
use crate::sys::process::pidfd_open;
use crate::sys::socket::{self, Channel};
use anyhow::Context;
use kcov_proto::view::Name;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{geteuid, getpgrp, getppid};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// Options of `kcov-broker run`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = exit_status_help())]
pub struct RunArgs {
    /// Which calls go to the workers: kcov, syzkaller, all, or a list of names
    #[arg(long, value_name = "SET", default_value = "kcov", long_help = trace_help())]
    trace: TraceSet,

    /// Longest that a call waits for its worker, in seconds or with a unit (500ms, 2s)
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    deadline: Duration,

    /// Proposed KCOV requests to answer, which current kernels do not have; none switches them off
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "reset")]
    extensions: Vec<Extension>,

    /// Largest area of one instance, bytes (suffixes K, M, G); a larger INIT_TRACE gets ENOMEM
    #[arg(long, value_name = "BYTES", default_value = "2G", value_parser = parse_bytes)]
    max_area: u64,

    /// Most bytes of all areas together
    #[arg(long, value_name = "BYTES", default_value = "16G", value_parser = parse_bytes)]
    max_total: u64,

    /// Most instances at a time, at most half of the hard limit of descriptors, which root raises; a further open gets
    /// ENFILE
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_instances: usize,

    /// Most remote handles that are taken at a time, of all instances together; a REMOTE_ENABLE beyond gets ENOMEM
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_handles: usize,

    /// Most reads and writes of COMMAND's memory that handlers make a second, each of at most 64 KiB; what is beyond fails
    /// with ENOMEM
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_assist_rate: u64,

    /// Most bytes of them a second (suffixes K, M, G)
    #[arg(long, value_name = "BYTES", default_value = "8G", value_parser = parse_bytes)]
    max_assist_bytes: u64,

    /// Most memory of a worker for data of its own, bytes; what is beyond fails as if there were no more
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_bytes)]
    worker_memory: u64,

    /// Bound memory and processes of the workers by a control group below this one: `own`, or a path as
    /// /proc/self/cgroup has it; the memory is that of --worker-memory and --max-total together
    #[arg(long, value_name = "PARENT")]
    cgroup: Option<cgroup::Parent>,

    /// Crashes of workers a second that cost nothing; after further ones the next worker waits until they would be free.
    /// With 0 it waits after each
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_crash_rate: u64,

    /// Longest wait for the next worker when some in a row have crashed, or too many of late; at most half of the deadline
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    max_restart_delay: Duration,

    /// What becomes of COMMAND if the broker is killed
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    on_broker_death: OnBrokerDeath,

    /// The worker program [default: kcov-worker beside this program, or in ../libexec/kcov-broker]
    #[arg(long, value_name = "PATH")]
    worker: Option<PathBuf>,

    /// A library with a handler (see kcov_handler.h), and what to tell it; again for more, asked in their order
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    handlers: Vec<OsString>,

    /// Have the handler in the workers that `bench` measures
    #[arg(long, hide = true)]
    bench_handler: bool,

    /// Keep what there is of each crash and hang of a handler in a folder under DIR, see `kcov-broker replay`
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,

    /// Most artifacts under DIR, those of earlier runs among them; others are counted
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "artifacts")]
    max_artifacts: usize,

    /// Most bytes of them (suffixes K, M, G)
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_bytes, requires = "artifacts")]
    max_artifact_bytes: u64,

    /// Show COMMAND a /proc/kallsyms with _stext and _etext alone, between which all PCs lie: for fuzzers that read the
    /// kernel's text range there
    #[arg(long)]
    kallsyms: bool,

    /// Show COMMAND uid and gid 0, with capabilities over its own namespaces alone; for an ordinary user, no change
    /// for root
    #[arg(long)]
    map_root: bool,

    /// What `kcov-broker top` and `status` show the run as: 1 to 64 visible ASCII characters [default: like COMMAND]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    name: Option<Name>,

    /// Who may see the run's counters in `kcov-broker top` and `status`
    #[arg(long, value_enum, value_name = "WHO", default_value_t)]
    publish: Audience,

    /// Write counts of the run to FILE when it is over, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

    /// Log more: -v what the device does, -vv what the processes do
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// The command to run and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Extension {
    /// ENOTTY for all of them, as current kernels say
    None,
    /// KCOV_RESET_TRACE by the collecting thread
    Reset,
    /// KCOV_RESET_TRACE by any holder of the descriptor
    ResetByAny,
}

fn trace_help() -> String {
    format!("Which calls go to the workers, and are recorded:\n\n{}", trace_set::explain())
}

fn exit_status_help() -> &'static str {
    "Exit status:\n  That of COMMAND, or 128 and the number of the signal that ended it.\n  \
     125 if kcov-broker fails, 126 if COMMAND cannot be executed, 127 if it is not found."
}

pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        unit => return Err(format!("unknown unit '{unit}': use ms, s or m")),
    };
    let value: f64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    let time = Duration::try_from_secs_f64(value * scale).map_err(|error| error.to_string())?;
    let bounds = Duration::from_millis(10)..=Duration::from_secs(86_400);
    if bounds.contains(&time) { Ok(time) } else { Err("must be between 10ms and a day".into()) }
}

pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        unit => return Err(format!("unknown unit '{unit}': use K, M or G")),
    };
    let value: u64 = digits.parse().map_err(|_| format!("'{digits}' is no number"))?;
    value.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

/// Runs a command. Returns its status.
///
/// # Errors
/// If kcov-broker itself fails before the command runs.
pub fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    run_covered(args, None).map(ExitCode::from)
}

/// As [`run`], with what the handlers cover marked in a coverage map.
///
/// # Errors
/// As [`run`].
pub fn run_covered(args: RunArgs, cover: Option<OwnedFd>) -> anyhow::Result<u8> {
    logs::start(args.log_format, args.verbose);
    sys::filter::check_kernel()?;
    let launch = match launch(&args, cover) {
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
    let report = args.report.as_ref().map(create).transpose()?;
    let (ours, theirs) = socket::pair()?;
    let held = front::HeldSignals::hold()?;
    let broker = fork::child(|| {
        fork::close_copy(&ours);
        launch.leave_job();
        held.discard();
        be_broker(launch, theirs, report)
    })?;
    // While the tenant starts: what brokers that were killed left.
    live::sweep(false);
    Ok(front::wait(ours, broker, &held, args.on_broker_death))
}

fn launch(args: &RunArgs, cover: Option<OwnedFd>) -> anyhow::Result<Launch> {
    let Some(name) = args.command.first() else { anyhow::bail!("no command given") };
    let program = launch::find(name)?;
    let argv = args.command.iter().map(|argument| launch::c_string(argument, "an argument"));
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, None, Some(&mut mask))?;
    let rootless = rootless(args.map_root)?;
    let limits = cgroup::Limits::of_tenant(args.worker_memory, args.max_total);
    let reset_by_any = args.extensions.contains(&Extension::ResetByAny);
    Ok(Launch {
        program: launch::c_string(program.as_os_str(), "the command")?,
        argv: argv.collect::<Result<_, _>>()?,
        environment: launch::environment(),
        trace: args.trace.clone(),
        worker: launch::c_string(worker_program(args.worker.clone())?.as_os_str(), "the worker program")?,
        handlers: handler_arguments(args)?,
        group: getpgrp(),
        mask,
        deadline: args.deadline,
        quotas: Quotas { instances: descriptor_limit::affordable(args.max_instances)?, ..args.quotas() },
        extensions: Extensions {
            reset: reset_by_any || args.extensions.contains(&Extension::Reset),
            reset_by_any,
        },
        worker_memory: Some(args.worker_memory),
        cgroup: args.cgroup.as_ref().map(|parent| cgroup::plan(parent, limits)).transpose()?,
        preload: preload::of(&args.handlers)?,
        cover,
        artifacts: args.artifacts.as_deref().map(store::prepare).transpose()?,
        kallsyms: args.kallsyms,
        publication: Publication::new(run_name(args.name.as_ref(), &program), args.publish),
        jail_id: match rootless {
            Some(_) => geteuid().as_raw(),
            None => jail_id(),
        },
        rootless,
        on_broker_death: args.on_broker_death,
        service: None,
    })
}

impl RunArgs {
    /// The quotas, as they are given.
    pub(crate) fn quotas(&self) -> Quotas {
        Quotas {
            area: self.max_area,
            total: self.max_total,
            instances: self.max_instances,
            handles: self.max_handles,
            assist_rate: self.max_assist_rate,
            assist_bytes: self.max_assist_bytes,
            crash_rate: self.max_crash_rate,
            restart_delay: self.max_restart_delay,
            artifacts: Bounds { count: self.max_artifacts, bytes: self.max_artifact_bytes },
        }
    }

    /// The command and its arguments.
    pub(crate) fn command(&self) -> &[OsString] {
        &self.command
    }

    /// The files whose code is covered: the worker program, and the libraries in their order.
    ///
    /// # Errors
    /// If one of them is not there.
    pub(crate) fn modules(&self) -> anyhow::Result<Vec<PathBuf>> {
        let libraries = self.handlers.iter().map(|given| library(given));
        std::iter::once(worker_program(self.worker.clone())).chain(libraries).collect()
    }
}

/// The name of a run: as given, or like that of its program.
fn run_name(given: Option<&Name>, program: &Path) -> Name {
    let like = || Name::like(&program.file_name().unwrap_or_default().to_string_lossy());
    given.cloned().unwrap_or_else(like)
}

/// `LIBRARY[:CONFIG]` as its path, and the rest with the colon.
pub(crate) fn split_handler(given: &OsStr) -> (&Path, &[u8]) {
    let bytes = given.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len());
    (Path::new(OsStr::from_bytes(&bytes[..end])), &bytes[end..])
}

/// The full path of the library of `LIBRARY[:CONFIG]`.
pub(crate) fn library(given: &OsStr) -> anyhow::Result<PathBuf> {
    let (path, _) = split_handler(given);
    let has_colon = |path: &Path| {
        let shown = path.display();
        anyhow::anyhow!(
            "cannot use the handler {shown}: its path has a colon, which begins the configuration; link it to another path"
        )
    };
    let full = path.canonicalize().map_err(|error| match file_with_colon(given.as_bytes()) {
        Some(file) => has_colon(file),
        None => no_library(path, &error),
    })?;
    anyhow::ensure!(full.is_file(), "cannot use the handler {}: it is no file", path.display());
    if full.as_os_str().as_bytes().contains(&b':') {
        return Err(has_colon(&full));
    }
    Ok(full)
}

/// The file that is meant, if its path goes on behind the first colon.
fn file_with_colon(given: &[u8]) -> Option<&Path> {
    let colons = given.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let ends = colons.skip(1).chain([given.len()]);
    ends.map(|end| Path::new(OsStr::from_bytes(&given[..end]))).find(|path| path.is_file())
}

/// A library that cannot be had: why, and what to do.
fn no_library(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    if error.kind() != io::ErrorKind::NotFound {
        return anyhow::anyhow!("cannot use the handler {shown}: {error}");
    }
    let from = std::env::current_dir().ok().filter(|_| path.is_relative());
    let from = from.map_or_else(String::new, |from| format!(" in {}", from.display()));
    anyhow::anyhow!(
        "cannot use the handler {shown}: there is no such file{from}; build it (cc -shared -fPIC, see man kcov-handler), or \
         name the one that is meant"
    )
}

fn handler_arguments(args: &RunArgs) -> anyhow::Result<Vec<CString>> {
    let bench = args.bench_handler.then(|| Ok(c"--bench-handler".to_owned()));
    bench.into_iter().chain(args.handlers.iter().map(|handler| handler_argument(handler))).collect()
}

/// A handler as the worker program takes it, with the file by its full path.
pub(crate) fn handler_argument(given: &OsStr) -> anyhow::Result<CString> {
    let (_, config) = split_handler(given);
    let argument = [b"--handler=", library(given)?.as_os_str().as_bytes(), config].concat();
    Ok(launch::c_string(OsStr::from_bytes(&argument), "the name of a handler")?)
}

/// How a run without root starts its command; `None` with root.
pub(crate) fn rootless(map_root: bool) -> anyhow::Result<Option<Shown>> {
    let shown = if map_root { Shown::Root } else { Shown::Own };
    match Standing::of_caller(jail_id())? {
        Standing::Root => Ok(None),
        Standing::Rootless => {
            // Before anything is started: the command's own process could but say that it failed.
            rootless::check(shown)?;
            Ok(Some(shown))
        }
    }
}

/// The worker program: the one that was named, or the one beside this program.
pub(crate) fn worker_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let (path, way_out) = match given {
        Some(path) => (path, "build it (a program of yours that calls kcov_worker::main), or name another"),
        None => {
            let program = std::env::current_exe().context("cannot tell where this program is")?;
            // As it is built, or else as it is installed: nobody else is to find it in PATH.
            let beside = program.with_file_name("kcov-worker");
            let installed = program.with_file_name("../libexec/kcov-broker/kcov-worker");
            let own = if !beside.exists() && installed.exists() { installed } else { beside };
            (own, "build it (cargo build --package kcov-worker), or name it with --worker")
        }
    };
    let shown = path.display();
    path.canonicalize().with_context(|| format!("the worker program {shown} cannot be had: {way_out}"))
}

/// A uid of this run's own, beyond what systems hand out to users, services (up to 65,534) and containers (from
/// 524,288 to 1,879,048,191 with systemd): two runs share nothing.
pub(crate) fn jail_id() -> u32 {
    const FIRST: u32 = 0x7000_0000;
    FIRST + std::process::id()
}

/// The broker's process, which has left the job. Returns the exit status.
pub(crate) fn be_broker(launch: Launch, front: OwnedFd, report: Option<File>) -> i32 {
    launch.name_process(c"kcov-broker");
    match serve(launch, &front, report) {
        Ok(()) => 0,
        Err(error) => {
            let failed = FrontEvent::Failed { message: format!("{error:#}"), status: front::BROKER_FAILED };
            // A front that is gone needs no telling.
            let _ = Channel::from(front).send(&failed, &[]);
            1
        }
    }
}

fn serve(launch: Launch, front: &OwnedFd, report: Option<File>) -> anyhow::Result<()> {
    let (ours, theirs) = socket::pair()?;
    let launch = Rc::new(launch);
    let inherited = launch.clone();
    let spawner = fork::child(|| {
        fork::close_copy(&ours);
        fork::close_copy(front);
        spawner::serve(theirs, &inherited)
    })
    .context("cannot fork the spawner")?;
    // Whom the spawner leaves behind, should it be killed.
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    // After the fork: the command must not inherit that these are ignored.
    for signal in [Signal::SIGTTOU, Signal::SIGIO, Signal::SIGXFSZ, Signal::SIGHUP, Signal::SIGPIPE] {
        fork::ignore(signal);
    }
    // The command has the job's terminal and pipes now: a reader of its output must see the end of it.
    let report_file = report.as_ref().map(AsFd::as_fd);
    let cover = launch.cover.as_ref().map(AsFd::as_fd);
    let keep: Vec<_> = [ours.as_fd(), front.as_fd()].into_iter().chain(report_file).chain(cover).collect();
    confine::keep_only(&keep)?;
    descriptor_limit::raise(launch.quotas.instances);
    let publisher = launch.publication.as_ref().and_then(Publisher::open);
    confine::broker().context("cannot give up privileges")?;
    // What the front holds on to if this process dies first.
    let running = FrontEvent::Running { spawner: spawner.as_raw().cast_unsigned() };
    let shell_side = pidfd_open(getppid().as_raw() as u32, false).context("cannot hold on to the front")?;
    let mut broker = Broker::start(
        launch,
        SpawnerClient::new(ours, spawner),
        front.try_clone()?.into(),
        shell_side,
        publisher,
    )
    .map_err(|error| match error {
        StartError::Step { .. } => anyhow::Error::from(error).context("the tenant cannot be set up"),
        other => other.into(),
    })?;
    broker.tell_front(&running);
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
