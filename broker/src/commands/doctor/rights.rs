//! Checks the privileges of the calling user by using them as a run does.

use super::finding::{Finding, Level};
use crate::launch::rootless::{self, Shown, Standing};
use crate::launch::trial::{self, TrialError};
use crate::sandbox::placeholder;

/// Runs the checks.
pub fn findings() -> Vec<Finding> {
    let standing = Standing::of_run();
    let finding = Finding::ok("rights", "privileges of the command and the workers", "root: no limitation");
    match standing {
        Ok(Standing::Root) => vec![finding, placeholders(Standing::Root)],
        Ok(Standing::Rootless) => {
            let found = "not root: the command runs in a user namespace, where setuid programs gain no privileges, files \
                         of other users belong to nobody, and the uid cannot be changed; workers have the uid of this user, \
                         without capabilities, in an empty user namespace";
            let way_out = "start kcov-broker as root";
            let limited = finding.but(Level::Limited, found, way_out);
            vec![limited, namespaces(), placeholders(Standing::Rootless)]
        }
        Err(error) => vec![finding.but(Level::Missing, error.to_string(), "see the message")],
    }
}

fn namespaces() -> Finding {
    let finding = Finding::ok("user namespaces", "inspecting the command without root", "available");
    match rootless::check(Shown::Own) {
        Ok(()) => finding,
        Err(rootless::CheckError::Forbidden(error)) => {
            finding.but(Level::Missing, error.what(), rootless::advice(error.errno()))
        }
        Err(rootless::CheckError::Trial(error)) => {
            finding.but(Level::Missing, error.to_string(), "see the message")
        }
    }
}

/// Checks that the placeholder files of the device can be mounted in a new mount namespace.
fn placeholders(standing: Standing) -> Finding {
    let finding = Finding::ok("device files", "opening the device by all its paths", "can be mounted");
    let placed: Result<Result<(usize, Vec<String>), String>, TrialError> = trial::in_child(|| {
        if standing == Standing::Rootless {
            rootless::enter(Shown::Own).map_err(|error| error.what())?;
        }
        let placed = placeholder::install().map_err(|error| error.to_string())?;
        Ok((placed.places, placed.notes))
    });
    let way_out = "mount sysfs, debugfs and a /dev where the command runs; in a container, permit mounts";
    match placed {
        Ok(Ok((1.., notes))) if notes.is_empty() => finding,
        Ok(Ok((1.., notes))) => finding.but(Level::Limited, notes.join("; "), way_out),
        Ok(Ok((_, notes))) => finding.but(Level::Missing, notes.join("; "), way_out),
        Ok(Err(error)) => {
            finding.but(Level::Missing, error, "see user namespaces, or start kcov-broker as root")
        }
        Err(error) => finding.but(Level::Missing, error.to_string(), "see the message"),
    }
}
