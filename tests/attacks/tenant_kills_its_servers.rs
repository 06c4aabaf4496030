//! Attacker: a tenant of a service, with its own user
//! Tries: to kill the broker, reader, worker and spawner that serve it
//! Wins: calls that are not handled, or the end of the service
//! Must: the kernel refuses every signal, and the tenant is served as before

use crate::kit::attempt_of_tenant;
use anyhow::Result;

#[test]
fn refused() -> Result<()> {
    let script = "for one in /proc/[0-9]*; do case $(cat $one/comm 2>&-) in kcov-*) \
        kill -9 ${one#/proc/} 2>&- && echo killed $one;; esac; done";
    assert_eq!(attempt_of_tenant(script)?, "");
    Ok(())
}
