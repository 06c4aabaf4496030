//! What the machine says about a configuration: files, users, groups, rights.

use super::errors::{ConfigError, Place};
use super::launch::{account, group_id, identity, prepared_environment, program};
use super::{Config, ConfigErrors, TenantConfig};
use crate::launch::service::Output;
use crate::rootless::Standing;
use crate::{preload, run};
use nix::unistd::{AccessFlags, access};
use std::ffi::OsString;
use std::path::Path;

/// Holds a configuration against this machine.
///
/// # Errors
/// [`ConfigErrors`] with all that is wrong.
pub fn config(config: &Config) -> Result<(), ConfigErrors> {
    let errors: Vec<_> = rights(config).into_iter().chain(config.tenants.iter().flat_map(tenant)).collect();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// Whether tenants can be run here at all, and kept apart.
fn rights(config: &Config) -> Vec<ConfigError> {
    let place = || config.tenants.first().map(|tenant| Place { key: String::new(), ..tenant.place("name") });
    let standing = Standing::of_caller(*config.serve.uids.end());
    let mut errors = Vec::new();
    let mut wrong = |message: String| {
        errors.push(ConfigError { place: place().unwrap_or_default(), message });
    };
    match standing {
        Err(error) => wrong(error.to_string()),
        Ok(Standing::Root) if config.serve.uids.clone().count() < config.tenants.len() => wrong(format!(
            "serve.uids has {} numbers for {} tenants: each needs one of its own",
            config.serve.uids.clone().count(),
            config.tenants.len()
        )),
        Ok(_) => {}
    }
    errors
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
    check("user", tenant.user.as_deref().map_or(Ok(()), |user| account(user).map(drop).map_err(told)));
    check("group", tenant.group.as_deref().map_or(Ok(()), |group| group_id(group).map(drop).map_err(told)));
    for group in tenant.groups.iter().flatten() {
        check("groups", group_id(group).map(drop).map_err(told));
    }
    if tenant.user.is_none() && (tenant.group.is_some() || tenant.groups.is_some()) {
        let key = if tenant.group.is_some() { "group" } else { "groups" };
        check(key, Err("names groups without a user: give `user` as well".into()));
    } else if tenant.user.as_deref().is_none_or(|user| account(user).is_ok()) {
        check("user", identity(tenant).map(drop).map_err(told));
    }
    check("directory", directory(&tenant.directory));
    if tenant.directory.is_dir() {
        let environment = prepared_environment(tenant);
        check("command", program(tenant, &environment).map(drop).map_err(|error| error.to_string()));
    }
    for handler in &tenant.handlers {
        let handler = OsString::from(handler);
        let usable = run::handler_argument(&handler).and_then(|_| preload::of(&[handler]));
        check("handlers", usable.map(drop).map_err(told));
    }
    if let Some(worker) = &tenant.worker {
        check("worker", readable_file(worker));
    }
    if let Some(artifacts) = &tenant.artifacts {
        let parent = artifacts.parent().unwrap_or(artifacts);
        check("artifacts", if artifacts.is_dir() { Ok(()) } else { directory(parent) });
    }
    if let Some(report) = &tenant.report {
        check("report", directory(report.parent().unwrap_or(report)));
    }
    if let Output::File(file) = &tenant.output {
        check("output", output(file));
    }
    errors
}

fn directory(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is no directory", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn readable_file(path: &Path) -> Result<(), String> {
    let facts = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
    if !facts.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    access(path, AccessFlags::X_OK).map_err(|errno| format!("{}: {}", path.display(), errno.desc()))
}

/// No step of the path may be a link, as it is opened with root's rights.
fn output(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    directory(parent)?;
    match parent.canonicalize() {
        Ok(real) if real != parent => Err(format!(
            "{} leads through a link, which is not followed: write {}",
            parent.display(),
            real.display()
        )),
        _ if path.is_symlink() => Err(format!("{} is a link, which is not followed", path.display())),
        _ if path.exists() && !path.is_file() => Err(format!("{} is no regular file", path.display())),
        _ => Ok(()),
    }
}
