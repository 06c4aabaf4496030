//! The options of one command: the command line of `kcov-broker run` and a `[[tenant]]` of a configuration
//! both fill [`TenantOptions`], and [`TenantOptions::launch`] is the only place that makes a [`Launch`] of
//! them.

use crate::artifact::store;
use crate::launch::cgroup::{self, Parent};
use crate::launch::programs::{self, c_string};
use crate::launch::publication::{Audience, Publication};
use crate::launch::quotas::Quotas;
use crate::launch::service::Service;
use crate::launch::trace_set::{self, TraceSet};
use crate::launch::{
    Extension, Extensions, KcovRules, Launch, OnBrokerDeath, descriptor_limit, handlers, parse, preload,
    rootless,
};
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, geteuid};
use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// How a command is run and served.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct TenantOptions {
    /// System calls that go to the workers: kcov, syzkaller, all, or a list of names
    #[arg(long, value_name = "SET", default_value = "kcov", long_help = trace_help())]
    pub trace: TraceSet,

    /// Longest time that a worker may take for a call, in seconds or with a unit (500ms, 2s); after that the
    /// worker is killed and the call fails with EIO
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse::time)]
    pub deadline: Duration,

    /// The kernel whose rules decide how many instances of the device a thread may enable
    #[arg(long, value_name = "VERSION", value_enum, default_value_t)]
    pub kcov_rules: KcovRules,

    /// What the device offers beyond current kernels. reset-by-any and shared are added to the default;
    /// otherwise the list replaces it
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "reset,unique")]
    pub extensions: Vec<Extension>,

    /// Quotas. Their options follow from a table, so they are not fields here.
    #[arg(skip)]
    pub quotas: Quotas,

    /// Maximum size of a worker's own data; allocations beyond it fail. BYTES takes the suffixes K, M and G
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse::bytes)]
    pub worker_memory: u64,

    /// Limit memory and processes of the workers by a control group below PARENT: `own`, or a path as in
    /// /proc/self/cgroup. The memory limit is the sum of --worker-memory and --max-total
    #[arg(long, value_name = "PARENT")]
    pub cgroup: Option<Parent>,

    /// What happens to COMMAND if the broker is killed
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub on_broker_death: OnBrokerDeath,

    /// The worker program [default: kcov-worker in the directory of this program, or in
    /// ../libexec/kcov-broker]
    #[arg(long, value_name = "PATH")]
    pub worker: Option<PathBuf>,

    /// A library with a handler (see kcov_handler.h), and its configuration. May be given several times;
    /// handlers are asked in this order
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    pub handlers: Vec<OsString>,

    /// Load the handler that `bench` measures
    #[arg(long, hide = true)]
    pub bench_handler: bool,

    /// Write an artifact for each crash and hang of a handler to a directory below DIR, see `kcov-broker
    /// replay`
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,

    /// Show COMMAND a /proc/kallsyms that only contains _stext and _etext, with all PCs between them, for
    /// fuzzers that read the text range of the kernel there
    #[arg(long)]
    pub kallsyms: bool,

    /// Show COMMAND uid and gid 0, with capabilities only over its own namespaces. For ordinary users; has no
    /// effect for root
    #[arg(long)]
    pub map_root: bool,

    /// Who may see the counters of the run in `kcov-broker top` and `status`
    #[arg(long, value_enum, value_name = "WHO", default_value_t)]
    pub publish: Audience,

    /// Write counters to FILE as JSON at the end of the run
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

fn trace_help() -> String {
    format!("System calls that go to the workers and are recorded:\n\n{}", trace_set::explain())
}

impl Default for TenantOptions {
    fn default() -> Self {
        TenantOptions {
            trace: TraceSet::default(),
            deadline: Duration::from_secs(5),
            kcov_rules: KcovRules::default(),
            extensions: Extensions::DEFAULT.to_vec(),
            quotas: Quotas::default(),
            worker_memory: 1 << 30,
            cgroup: None,
            on_broker_death: OnBrokerDeath::default(),
            worker: None,
            handlers: Vec::new(),
            bench_handler: false,
            artifacts: None,
            kallsyms: false,
            map_root: false,
            publish: Audience::default(),
            report: None,
        }
    }
}

/// What a command needs to start, besides its options. A command of a terminal and a tenant of a service
/// differ in all of it.
#[derive(Debug)]
pub struct Invocation {
    /// The file of the command.
    pub program: PathBuf,
    /// The command and its arguments.
    pub argv: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<CString>,
    /// Process group that it joins.
    pub group: Pid,
    /// Its signal mask.
    pub mask: SigSet,
    /// uid and gid of zygote and workers, with root.
    pub jail_id: u32,
    /// The coverage map, if the run accumulates coverage.
    pub cover: Option<OwnedFd>,
    /// How the tenant appears in `kcov-broker top` and `status`.
    pub publication: Option<Publication>,
    /// Settings that only tenants of a service have.
    pub service: Option<Service>,
}

impl TenantOptions {
    /// Limits of a control group for the workers.
    #[must_use]
    pub fn cgroup_limits(&self) -> cgroup::Limits {
        cgroup::Limits::of_tenant(self.worker_memory, self.quotas.total)
    }

    /// Checks the options against this machine, and combines them with `invocation`. Creates the directory of
    /// the artifacts.
    ///
    /// # Errors
    /// If something that the options name does not exist or is not permitted.
    pub fn launch(&self, invocation: Invocation) -> anyhow::Result<Launch> {
        let Invocation { program, argv, environment, group, mask, jail_id, cover, publication, service } =
            invocation;
        let rootless = rootless::plan(self.map_root)?;
        let argv = argv.iter().map(|argument| c_string(argument, "an argument"));
        let user = service.as_ref().and_then(Service::user);
        let artifacts = |directory| store::prepare(directory, user);
        let cgroup = |parent| cgroup::plan(parent, self.cgroup_limits());
        Ok(Launch {
            program: c_string(program.as_os_str(), "the command")?,
            argv: argv.collect::<Result<_, _>>()?,
            environment,
            trace: self.trace.clone(),
            worker: c_string(programs::worker(self.worker.as_deref())?.as_os_str(), "the worker program")?,
            handlers: self.handler_arguments()?,
            group,
            mask,
            deadline: self.deadline,
            quotas: Quotas { instances: descriptor_limit::affordable(self.quotas.instances)?, ..self.quotas },
            kcov_rules: self.kcov_rules,
            extensions: Extensions::of(&self.extensions),
            jail_id: if rootless.is_some() { geteuid().as_raw() } else { jail_id },
            worker_memory: Some(self.worker_memory),
            cgroup: self.cgroup.as_ref().map(cgroup).transpose()?,
            preload: preload::of(&self.handlers)?,
            artifacts: self.artifacts.as_deref().map(artifacts).transpose()?,
            cover,
            kallsyms: self.kallsyms,
            publication,
            rootless,
            on_broker_death: self.on_broker_death,
            service,
        })
    }

    fn handler_arguments(&self) -> anyhow::Result<Vec<CString>> {
        let bench = self.bench_handler.then(|| Ok(c"--bench-handler".to_owned()));
        bench.into_iter().chain(self.handlers.iter().map(|handler| handlers::argument(handler))).collect()
    }

    /// The files whose code is covered: the worker program, then the libraries in their order.
    ///
    /// # Errors
    /// If one of them does not exist.
    pub fn modules(&self) -> anyhow::Result<Vec<PathBuf>> {
        let libraries = self.handlers.iter().map(|given| handlers::library(given));
        std::iter::once(programs::worker(self.worker.as_deref())).chain(libraries).collect()
    }
}
