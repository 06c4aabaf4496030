//! Checks a configuration against the machine: files, users, groups, permissions.

mod accounts;
mod library;
mod place;
mod reach;

use super::errors::{ConfigError, Place};
use super::launch::{account, group_id, identity, prepared_environment, program};
use super::service::{ServeConfig, ServePlaces};
use super::settings::Config;
use super::tenant::TenantConfig;
use crate::launch::cgroup::{self, Parent};
use crate::launch::preload;
use crate::launch::rootless::Standing;
use crate::launch::service::Output;
use crate::launch::{handlers, programs};
use nix::unistd::geteuid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// All errors of a configuration on this machine.
#[must_use]
pub fn config(config: &Config, places: &ServePlaces) -> Vec<ConfigError> {
    let serve = rights(config, &places.uids).into_iter().chain(sockets(&config.serve, places));
    serve.chain(config.tenants.iter().flat_map(tenant)).collect()
}

/// Checks whether tenants can run here and be isolated from each other.
fn rights(config: &Config, place: &Place) -> Vec<ConfigError> {
    let uids = &config.serve.uids;
    let wrong = match Standing::of_caller(*uids.end()) {
        Err(error) => vec![error.to_string()],
        Ok(Standing::Rootless) => Vec::new(),
        Ok(Standing::Root) => {
            let (numbers, tenants) = (uids.clone().count(), config.tenants.len());
            let few = (numbers < tenants)
                .then(|| format!("has {numbers} uids for {tenants} tenants: each needs its own"));
            few.into_iter().chain(accounts::within(uids)).collect()
        }
    };
    wrong.into_iter().map(|message| ConfigError { place: place.clone(), message }).collect()
}

/// Checks whether the sockets and the file of the service can be created.
fn sockets(serve: &ServeConfig, places: &ServePlaces) -> Vec<ConfigError> {
    let metrics = serve.metrics.as_ref();
    let listen = metrics.and_then(|metrics| metrics.listen.as_ref());
    let file = metrics.and_then(|metrics| metrics.file.as_ref());
    // The service creates the directory of the control socket itself.
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

/// All errors of one tenant.
#[must_use]
pub fn tenant(tenant: &TenantConfig) -> Vec<ConfigError> {
    let (mut errors, options) = (Vec::new(), &tenant.options);
    let mut check = |key: &str, result: Result<(), String>| {
        if let Err(message) = result {
            errors.push(ConfigError { place: tenant.place(key), message });
        }
    };
    let text = |error: anyhow::Error| format!("{error:#}");
    check("group", tenant.group.as_deref().map_or(Ok(()), |group| group_id(group).map(drop).map_err(text)));
    for group in tenant.groups.iter().flatten() {
        check("groups", group_id(group).map(drop).map_err(text));
    }
    if let Some(user) = &tenant.user {
        let groups_are_known = tenant.group.iter().chain(tenant.groups.iter().flatten());
        let groups_are_known = groups_are_known.map(String::as_str).all(|group| group_id(group).is_ok());
        let usable =
            account(user).and_then(|_| if groups_are_known { identity(tenant).map(drop) } else { Ok(()) });
        check("user", usable.map_err(text));
    }
    if let Some(parent @ Parent::Named(_)) = &options.cgroup {
        // Not `own`: the caller of `check` is in another group than the service.
        check(
            "cgroup",
            cgroup::find(parent, options.cgroup_limits()).map(drop).map_err(|error| text(error.into())),
        );
    }
    check("directory", place::directory(&tenant.directory));
    // An error of the directory is reported above, and one of an empty command when it was read.
    if tenant.directory.is_dir() && !tenant.command.is_empty() {
        let environment = prepared_environment(tenant);
        check("command", program(tenant, &environment).map(drop).map_err(|error| error.to_string()));
    }
    for handler in &options.handlers {
        check("handlers", check_handler(handler).map_err(text));
    }
    check(
        "worker",
        match &options.worker {
            Some(worker) => place::program(worker),
            None => programs::worker(None).map(drop).map_err(text),
        },
    );
    if let Some(artifacts) = &options.artifacts {
        // The part of the path that does not exist is created.
        let existing = artifacts.ancestors().find(|directory| directory.symlink_metadata().is_ok());
        let there = place::directory(existing.unwrap_or(artifacts));
        check("artifacts", there.and_then(|()| place::own_folder(artifacts, trusted_user(tenant))));
    }
    if let Some(report) = &options.report {
        check("report", place::directory(above(report)));
    }
    if let Output::File(file) = &tenant.output {
        check("output", place::output(file));
    }
    errors
}

/// The user of a tenant, who may own the folder of its artifacts.
fn trusted_user(tenant: &TenantConfig) -> Option<u32> {
    identity(tenant).ok().flatten().map(|identity| identity.uid.as_raw())
}

/// Warns of files that the service writes into folders of other users.
#[must_use]
pub fn foreign_folders(config: &Config, places: &ServePlaces) -> Vec<ConfigError> {
    let metrics = config.serve.metrics.as_ref().and_then(|metrics| metrics.file.as_ref());
    let metrics = metrics.map(|file| (places.file.clone(), above(file).to_owned(), None));
    let outputs = config.tenants.iter().flat_map(|tenant| {
        let output = match &tenant.output {
            Output::File(file) => Some(("output", file)),
            _ => None,
        };
        let report = tenant.options.report.as_ref().map(|file| ("report", file));
        output
            .into_iter()
            .chain(report)
            .map(|(key, file)| (tenant.place(key), above(file).to_owned(), trusted_user(tenant)))
    });
    let warning = |(place, folder, user): (Place, PathBuf, Option<u32>)| {
        Some(ConfigError { place, message: place::own_folder(&folder, user).err()? })
    };
    metrics.into_iter().chain(outputs).filter_map(warning).collect()
}

/// Warns of tenants with the same user: the kernel lets their processes signal and trace each other.
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
            "{} tenants run as the user {user} and can signal and trace each other: give each its own `user` if they do not \
             trust each other",
            tenants.len()
        ),
    };
    shared.map(warning).collect()
}

/// Warns of paths that the user of a tenant has no permission for.
#[must_use]
pub fn unreachable(tenant: &TenantConfig) -> Vec<ConfigError> {
    let (Some(user), Ok(Some(who))) = (&tenant.user, identity(tenant)) else { return Vec::new() };
    let program = program(tenant, &prepared_environment(tenant)).ok();
    let places = [("directory", Some(tenant.directory.clone())), ("command", program)];
    let warning = |(key, path): (&str, Option<PathBuf>)| {
        Some(ConfigError { place: tenant.place(key), message: reach::obstacle(&path?, &who, user)? })
    };
    places.into_iter().filter_map(warning).collect()
}

/// Checks a library with a handler, and the sanitizer runtimes that it needs.
fn check_handler(handler: &OsStr) -> anyhow::Result<()> {
    let path = handlers::library(handler)?;
    library::check(&path)?;
    preload::of(&[OsString::from(handler)]).map(drop)
}
