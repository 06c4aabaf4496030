//! The same denial of files and network by Landlock, where the kernel has it: a second lock beside the namespaces.

use super::JailError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

/// What is denied, as far as the kernel knows it: all that this version of the interface names (Linux 6.12).
const MOST: ABI = ABI::V6;

/// Denies all access to files, to TCP ports, to abstract sockets and signals of others. Says how much of it the kernel
/// enforces: nothing, where it has no Landlock.
///
/// # Errors
/// [`JailError::Landlock`].
pub fn deny_all() -> Result<RulesetStatus, JailError> {
    let denied = || -> Result<_, RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))?
            .handle_access(AccessNet::from_all(MOST))?
            .scope(Scope::from_all(MOST))?
            .create()?
            // No rule: nothing is allowed.
            .restrict_self()
    };
    Ok(denied().map_err(JailError::Landlock)?.ruleset)
}
