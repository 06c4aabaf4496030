//! What the calling user may do here, tried as a run does it.

use super::finding::{Finding, Level};
use crate::launch::rootless::{self, Shown, Standing};
use crate::sandbox::placeholder;
use crate::sandbox::trial::{self, TrialError};

/// What was found.
pub fn findings() -> Vec<Finding> {
    let standing = Standing::of_caller(rootless::jail_id());
    let finding =
        Finding::ok("rights", "what the command and the workers may do", "root: nothing is held back");
    match standing {
        Ok(Standing::Root) => vec![finding, placeholders(Standing::Root)],
        Ok(Standing::Rootless) => {
            let found = "no root: the command runs in a user namespace, in which its setuid programs have no power, \
                         other users' files belong to nobody and no other uid can be taken; workers have this user's uid, \
                         without capabilities, in an empty user namespace";
            let way_out = "start kcov-broker as root";
            let limited = finding.but(Level::Limited, found, way_out);
            vec![limited, namespaces(), placeholders(Standing::Rootless)]
        }
        Err(error) => vec![finding.but(Level::Missing, error.to_string(), "as it says")],
    }
}

fn namespaces() -> Finding {
    let finding = Finding::ok("user namespaces", "looking into the command without root", "can be made");
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

/// A mount namespace with the files that stand for the device.
fn placeholders(standing: Standing) -> Finding {
    let finding = Finding::ok("device files", "finding the device by every path", "can be placed");
    let placed: Result<Result<(usize, Vec<String>), String>, TrialError> = trial::in_child(|| {
        if standing == Standing::Rootless {
            rootless::enter(Shown::Own).map_err(|error| error.what())?;
        }
        let placed = placeholder::install().map_err(|error| error.to_string())?;
        Ok((placed.files.len(), placed.notes))
    });
    let way_out = "mount sysfs, debugfs and a /dev where the command runs; in a container, allow mounts";
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
