//! From a checked tenant to what its broker is started with.

use super::TenantConfig;
use crate::artifact::store;
use crate::commands::run;
use crate::launch::cgroup;
use crate::launch::descriptor_limit;
use crate::launch::preload;
use crate::launch::quotas::Quotas;
use crate::launch::service::{Identity, Service};
use crate::launch::{self, CommandError, Launch};
use crate::live::Publication;
use anyhow::{Context, bail, ensure};
use kcov_proto::view::Name;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Group, Pid, Uid, User, geteuid, getgrouplist};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::path::{Path, PathBuf};

/// `PATH` of a tenant that sets and inherits none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl TenantConfig {
    /// Bounds of a control group for its workers.
    pub(super) fn limits(&self) -> cgroup::Limits {
        cgroup::Limits::of_tenant(self.worker_memory, self.quotas.total)
    }

    /// What its broker is started with, whose workers run as `jail_id`; it was started `restarts` times before.
    ///
    /// # Errors
    /// If the machine says no; see [`super::probe`].
    pub fn launch(&self, jail_id: u32, restarts: u64) -> anyhow::Result<Launch> {
        let environment = prepared_environment(self);
        let program = program(self, &environment)?;
        let handlers: Vec<OsString> = self.handlers.iter().map(OsString::from).collect();
        let rootless = run::rootless(self.map_root)?;
        let argv = self.command.iter().map(|word| launch::c_string(OsStr::new(word), "an argument"));
        let identity = identity(self)?;
        let user = identity.as_ref().map_or(geteuid(), |identity| identity.uid).as_raw();
        Ok(Launch {
            program: launch::c_string(program.as_os_str(), "the command")?,
            argv: argv.collect::<Result<_, _>>()?,
            environment: environment.into_iter().filter_map(variable).collect(),
            trace: self.trace.clone(),
            worker: launch::c_string(
                run::worker_program(self.worker.clone())?.as_os_str(),
                "the worker program",
            )?,
            handlers: handlers
                .iter()
                .map(|handler| run::handler_argument(handler))
                .collect::<Result<_, _>>()?,
            group: Pid::from_raw(0),
            mask: SigSet::empty(),
            deadline: self.deadline,
            quotas: Quotas { instances: descriptor_limit::affordable(self.quotas.instances)?, ..self.quotas },
            extensions: self.extensions,
            preload: preload::of(&handlers)?,
            artifacts: self.artifacts.as_deref().map(store::prepare).transpose()?,
            worker_memory: Some(self.worker_memory),
            cgroup: self.cgroup.as_ref().map(|parent| cgroup::plan(parent, self.limits())).transpose()?,
            cover: None,
            kallsyms: self.kallsyms,
            publication: Publication::new(Name::like(&self.name), self.publish)
                .map(|publication| Publication { restarts, user, ..publication }),
            jail_id: if rootless.is_some() { geteuid().as_raw() } else { jail_id },
            on_broker_death: self.on_broker_death,
            service: Some(Service {
                name: self.name.clone(),
                identity,
                directory: self.directory.clone(),
                output: self.output.clone(),
            }),
            rootless,
        })
    }
}

fn variable((name, value): (OsString, OsString)) -> Option<CString> {
    use std::os::unix::ffi::OsStringExt;
    let mut entry = name;
    entry.push("=");
    entry.push(value);
    CString::new(entry.into_vec()).ok()
}

/// The environment: what every service finds, then what is inherited, then what is set.
pub(super) fn prepared_environment(tenant: &TenantConfig) -> BTreeMap<OsString, OsString> {
    let account = match &tenant.user {
        Some(user) => account(user).ok(),
        None => User::from_uid(geteuid()).ok().flatten(),
    };
    let of_account = account.into_iter().flat_map(|account| {
        [
            ("HOME", account.dir.into_os_string()),
            ("SHELL", account.shell.into_os_string()),
            ("USER", account.name.clone().into()),
            ("LOGNAME", account.name.into()),
        ]
    });
    let own = [("PATH", OsString::from(PATH))].into_iter().chain(of_account);
    let own = own.map(|(name, value)| (OsString::from(name), value));
    let inherited = tenant.inherit.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let set = tenant.environment.iter().map(|(name, value)| (name.into(), value.into()));
    own.chain(inherited).chain(set).collect()
}

/// The file that the command is.
pub(super) fn program(
    tenant: &TenantConfig,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, CommandError> {
    let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
    let name = tenant.command.first().map_or(OsStr::new(""), OsStr::new);
    let leads = name.as_encoded_bytes().contains(&b'/') && Path::new(name).is_relative();
    launch::find_in(name, path, &tenant.directory).map_err(|error| match error {
        CommandError::NoFile(path) if leads => CommandError::NotFoundFrom {
            // Without the `/./` of a path that begins with `./`.
            path: path.components().collect(),
            directory: tenant.directory.clone(),
        },
        other => other,
    })
}

/// The account of a user, by name or number.
pub(super) fn account(user: &str) -> anyhow::Result<User> {
    let by_name = User::from_name(user).with_context(|| format!("cannot look up the user {user}"))?;
    let found = match (by_name, user.parse()) {
        (Some(found), _) => Some(found),
        (None, Ok(uid)) => {
            User::from_uid(Uid::from_raw(uid)).with_context(|| format!("cannot look up uid {uid}"))?
        }
        (None, Err(_)) => None,
    };
    found.with_context(|| {
        format!("there is no user {user}: make it (useradd --system {user}), or name another")
    })
}

/// The number of a group, by name or number.
pub(super) fn group_id(group: &str) -> anyhow::Result<Gid> {
    let by_name = Group::from_name(group).with_context(|| format!("cannot look up the group {group}"))?;
    match (by_name, group.parse()) {
        (Some(found), _) => Ok(found.gid),
        (None, Ok(gid)) => Ok(Gid::from_raw(gid)),
        (None, Err(_)) => {
            bail!("there is no group {group}: make it (groupadd --system {group}), or name another")
        }
    }
}

/// Who the command runs as; `None` for who runs this process.
pub(super) fn identity(tenant: &TenantConfig) -> anyhow::Result<Option<Identity>> {
    let Some(user) = &tenant.user else { return Ok(None) };
    let account = account(user)?;
    if !geteuid().is_root() {
        ensure!(
            account.uid == geteuid(),
            "only root runs tenants as others: start serve as root, or leave `user` out"
        );
        ensure!(tenant.group.is_none() && tenant.groups.is_none(), "only root sets groups: leave them out");
        return Ok(None);
    }
    let gid = tenant.group.as_deref().map_or(Ok(account.gid), group_id)?;
    let groups = match &tenant.groups {
        Some(groups) => groups.iter().map(|group| group_id(group)).collect::<Result<_, _>>()?,
        None => {
            let name = CString::new(account.name.as_str()).context("the name of the user")?;
            getgrouplist(&name, gid).with_context(|| format!("cannot look up the groups of {user}"))?
        }
    };
    Ok(Some(Identity { uid: account.uid, gid, groups }))
}
