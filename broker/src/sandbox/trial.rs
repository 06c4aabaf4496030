//! Trying something in a child process that ends afterwards, because it cannot be taken back.

use crate::sys::fork;
use crate::sys::socket::{self, Channel, ChannelError};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use serde::{Serialize, de::DeserializeOwned};

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No child.
    #[error("fork: {0}")]
    Fork(#[from] Errno),
    /// The child ended before it said anything.
    #[error("the trial ended without a result: {0}")]
    Silent(#[from] ChannelError),
}

/// What `attempt` returns in a child of this process, which must have one thread.
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
    // It has nothing left to do but to end; a signal that interrupts this leaves it to be reaped with this process.
    let _ = waitpid(child, None);
    Ok(result?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_and_silence_is_an_error() {
        assert_eq!(in_child(|| (nix::unistd::getppid().as_raw(), 7)).expect("a result").1, 7);
        let silent = in_child(|| -> u8 { crate::sys::process::exit_now(0) });
        assert!(matches!(silent, Err(TrialError::Silent(_))), "{silent:?}");
    }
}
