//! Starting a tenant of a service: its account, its environment, and the file of its command.

use super::options::Invocation;
use super::tenant::TenantConfig;
use crate::launch::Launch;
use crate::launch::programs::{self, CommandError};
use crate::launch::publication::Publication;
use crate::launch::service::{Identity, Service};
use anyhow::{Context, bail, ensure};
use kcov_proto::view::Name;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Group, Pid, Uid, User, geteuid, getgrouplist};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::path::{Path, PathBuf};

/// `PATH` of a tenant that neither sets nor inherits one.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl TenantConfig {
    /// What the broker of this tenant is started with. Workers run as `jail_id`, if the service has root;
    /// `restarts` is how often the tenant was started before.
    ///
    /// # Errors
    /// If something that the configuration names does not exist or is not permitted; see [`super::probe`].
    pub fn launch(&self, jail_id: u32, restarts: u64) -> anyhow::Result<Launch> {
        let environment = prepared_environment(self);
        let program = program(self, &environment)?;
        let identity = identity(self)?;
        let user = identity.as_ref().map_or(geteuid(), |identity| identity.uid).as_raw();
        let publication = Publication::new(Name::like(&self.name), self.options.publish);
        self.options.launch(Invocation {
            program,
            argv: self.command.iter().map(OsString::from).collect(),
            environment: programs::environment(environment),
            group: Pid::from_raw(0),
            mask: SigSet::empty(),
            jail_id,
            cover: None,
            publication: publication.map(|publication| Publication { restarts, user, ..publication }),
            service: Some(Service {
                name: self.name.clone(),
                identity,
                directory: self.directory.clone(),
                output: self.output.clone(),
            }),
        })
    }
}

/// The environment of a tenant: variables that every tenant has, then those it inherits, then those it sets.
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

/// The file of the command.
pub(super) fn program(
    tenant: &TenantConfig,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, CommandError> {
    let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
    let name = tenant.command.first().map_or(OsStr::new(""), OsStr::new);
    let is_relative_path = name.as_encoded_bytes().contains(&b'/') && Path::new(name).is_relative();
    programs::find_in(name, path, &tenant.directory).map_err(|error| match error {
        CommandError::NoFile(path) if is_relative_path => CommandError::NotFoundFrom {
            // Removes the `/./` of a path that begins with `./`.
            path: path.components().collect(),
            directory: tenant.directory.clone(),
        },
        other => other,
    })
}

/// Looks up a user by name or number.
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
        format!("there is no user {user}: create it (useradd --system {user}), or name another one")
    })
}

/// Looks up a group by name or number.
pub(super) fn group_id(group: &str) -> anyhow::Result<Gid> {
    let by_name = Group::from_name(group).with_context(|| format!("cannot look up the group {group}"))?;
    match (by_name, group.parse()) {
        (Some(found), _) => Ok(found.gid),
        (None, Ok(gid)) => Ok(Gid::from_raw(gid)),
        (None, Err(_)) => {
            bail!("there is no group {group}: create it (groupadd --system {group}), or name another one")
        }
    }
}

/// User and groups of the command; `None` for those of this process.
pub(super) fn identity(tenant: &TenantConfig) -> anyhow::Result<Option<Identity>> {
    let Some(user) = &tenant.user else { return Ok(None) };
    let account = account(user)?;
    if !geteuid().is_root() {
        ensure!(
            account.uid == geteuid(),
            "only root can run tenants as other users: start serve as root, or remove `user`"
        );
        ensure!(tenant.group.is_none() && tenant.groups.is_none(), "only root can set groups: remove them");
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
