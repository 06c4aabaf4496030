//! Trying something that cannot be undone, in a child process that ends afterwards.

use crate::sys::fork;
use crate::sys::socket::{self, Channel, ChannelError};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use serde::{Serialize, de::DeserializeOwned};

/// Why a trial returned no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The child could not be forked.
    #[error("fork: {0}")]
    Fork(#[from] Errno),
    /// The child ended before it sent the result.
    #[error("the trial ended without a result: {0}")]
    Silent(#[from] ChannelError),
}

/// Runs `attempt` in a child of this process, which must have one thread, and returns its result.
///
/// # Errors
/// [`TrialError`].
pub fn in_child<T: Serialize + DeserializeOwned>(attempt: impl FnOnce() -> T) -> Result<T, TrialError> {
    let (ours, theirs) = socket::pair()?;
    let child = fork::child(|| {
        fork::close_copy(&ours);
        match Channel::from(theirs).send(&attempt(), &[]) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    })?;
    let result = Channel::from(ours).receive::<T>();
    // The child is about to exit. If a signal interrupts this, it is reaped when this process ends.
    let _ = waitpid(child, None);
    Ok(result?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_returned_and_a_missing_one_is_an_error() {
        assert_eq!(in_child(|| (nix::unistd::getppid().as_raw(), 7)).expect("a result").1, 7);
        let silent = in_child(|| -> u8 { crate::sys::fork::exit_now(0) });
        assert!(matches!(silent, Err(TrialError::Silent(_))), "{silent:?}");
    }
}
