//! Landlock, where the kernel has it: denies files and network a second time, besides the namespaces.

use super::error::JailError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

/// Version of the interface whose rights are denied, as far as the kernel knows them (Linux 6.12).
const MOST: ABI = ABI::V6;

/// Denies all access to files and TCP ports, to abstract sockets of other processes, and signals to them.
/// Returns how much of it the kernel enforces: nothing without Landlock.
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
            // Without rules nothing is allowed.
            .restrict_self()
    };
    Ok(denied().map_err(JailError::Landlock)?.ruleset)
}
