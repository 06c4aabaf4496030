//! What the machine says about a configuration: files, users, groups, rights.

mod accounts;
mod library;
mod place;
mod reach;

use super::errors::{ConfigError, Place};
use super::launch::{account, group_id, identity, prepared_environment, program};
use super::service::ServePlaces;
use super::{Config, ServeConfig, TenantConfig};
use crate::commands::run;
use crate::launch::cgroup::{self, Parent};
use crate::launch::preload;
use crate::launch::rootless::Standing;
use crate::launch::service::Output;
use nix::unistd::geteuid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// All that is wrong with a configuration on this machine.
#[must_use]
pub fn config(config: &Config, places: &ServePlaces) -> Vec<ConfigError> {
    let serve = rights(config, &places.uids).into_iter().chain(sockets(&config.serve, places));
    serve.chain(config.tenants.iter().flat_map(tenant)).collect()
}

/// Whether tenants can be run here at all, and kept apart.
fn rights(config: &Config, place: &Place) -> Vec<ConfigError> {
    let uids = &config.serve.uids;
    let wrong = match Standing::of_caller(*uids.end()) {
        Err(error) => vec![error.to_string()],
        Ok(Standing::Rootless) => Vec::new(),
        Ok(Standing::Root) => {
            let (numbers, tenants) = (uids.clone().count(), config.tenants.len());
            let few = (numbers < tenants)
                .then(|| format!("{numbers} for {tenants} tenants: each needs one of its own"));
            few.into_iter().chain(accounts::within(uids)).collect()
        }
    };
    wrong.into_iter().map(|message| ConfigError { place: place.clone(), message }).collect()
}

/// Whether the sockets and the file of the service can be where it says.
fn sockets(serve: &ServeConfig, places: &ServePlaces) -> Vec<ConfigError> {
    let metrics = serve.metrics.as_ref();
    let listen = metrics.and_then(|metrics| metrics.listen.as_ref());
    let file = metrics.and_then(|metrics| metrics.file.as_ref());
    // The directory of the control socket is made.
    let control = serve
        .socket
        .as_ref()
        .map(|path| place::socket(path).and_then(|()| place::directory(above(above(path)))));
    let listen = listen.map(|path| place::socket(path).and_then(|()| place::directory(above(path))));
    let file = file.map(|path| place::directory(above(path)));
    let checked = [(&places.socket, control), (&places.listen, listen), (&places.file, file)];
    let wrong = |(place, checked): (&Place, Option<Result<(), String>>)| {
        Some(ConfigError { place: place.clone(), message: checked?.err()? })
    };
    checked.into_iter().filter_map(wrong).collect()
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// What is wrong with one tenant.
#[must_use]
pub fn tenant(tenant: &TenantConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut check = |key: &str, result: Result<(), String>| {
        if let Err(message) = result {
            errors.push(ConfigError { place: tenant.place(key), message });
        }
    };
    let told = |error: anyhow::Error| format!("{error:#}");
    check("group", tenant.group.as_deref().map_or(Ok(()), |group| group_id(group).map(drop).map_err(told)));
    for group in tenant.groups.iter().flatten() {
        check("groups", group_id(group).map(drop).map_err(told));
    }
    if let Some(user) = &tenant.user {
        let groups_are_known = tenant.group.iter().chain(tenant.groups.iter().flatten());
        let groups_are_known = groups_are_known.map(String::as_str).all(|group| group_id(group).is_ok());
        let usable =
            account(user).and_then(|_| if groups_are_known { identity(tenant).map(drop) } else { Ok(()) });
        check("user", usable.map_err(told));
    }
    if let Some(parent @ Parent::Named(_)) = &tenant.cgroup {
        // Not `own`: the service's is another one than that of who checks.
        check("cgroup", cgroup::find(parent, tenant.limits()).map(drop).map_err(|error| told(error.into())));
    }
    check("directory", place::directory(&tenant.directory));
    // One that could not be read is known to be wrong.
    if tenant.directory.is_dir() && !tenant.command.is_empty() {
        let environment = prepared_environment(tenant);
        check("command", program(tenant, &environment).map(drop).map_err(|error| error.to_string()));
    }
    for handler in &tenant.handlers {
        check("handlers", usable(handler.as_ref()).map_err(told));
    }
    check(
        "worker",
        match &tenant.worker {
            Some(worker) => place::program(worker),
            None => run::worker_program(None).map(drop).map_err(told),
        },
    );
    if let Some(artifacts) = &tenant.artifacts {
        // What of it is not there is made.
        let there = artifacts.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        check("artifacts", place::directory(there.unwrap_or(artifacts)));
    }
    if let Some(report) = &tenant.report {
        check("report", place::directory(above(report)));
    }
    if let Output::File(file) = &tenant.output {
        check("output", place::output(file));
    }
    errors
}

/// Tenants that are not kept apart: the kernel lets processes of one user signal and trace each other.
#[must_use]
pub fn shared_users(tenants: &[TenantConfig]) -> Vec<ConfigError> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let mut by_user: BTreeMap<&str, Vec<&TenantConfig>> = BTreeMap::new();
    for tenant in tenants {
        by_user.entry(tenant.user.as_deref().unwrap_or("root")).or_default().push(tenant);
    }
    let shared = by_user.into_iter().filter(|(_, tenants)| tenants.len() > 1);
    let warning = |(user, tenants): (&str, Vec<&TenantConfig>)| ConfigError {
        place: tenants[0].place("user"),
        message: format!(
            "{} tenants run as the user {user}, and can signal and trace each other: give each a `user` of its own if one \
             may be hostile to the others",
            tenants.len()
        ),
    };
    shared.map(warning).collect()
}

/// What of a tenant will rather not work: where its user may not go.
#[must_use]
pub fn doubts(tenant: &TenantConfig) -> Vec<ConfigError> {
    let (Some(user), Ok(Some(who))) = (&tenant.user, identity(tenant)) else { return Vec::new() };
    let program = program(tenant, &prepared_environment(tenant)).ok();
    let places = [("directory", Some(tenant.directory.clone())), ("command", program)];
    let doubt = |(key, path): (&str, Option<PathBuf>)| {
        Some(ConfigError { place: tenant.place(key), message: reach::obstacle(&path?, &who, user)? })
    };
    places.into_iter().filter_map(doubt).collect()
}

/// Whether this is a library with a handler, whose runtimes are known.
fn usable(handler: &OsStr) -> anyhow::Result<()> {
    let path = run::library(handler)?;
    library::check(&path)?;
    preload::of(&[OsString::from(handler)]).map(drop)
}
