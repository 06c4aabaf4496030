//! Attacker: a tenant of a service, with its own user
//! Tries: to read the memory, the environment and the descriptors of the processes that serve it
//! Wins: areas and devices of other tenants, and secrets of the operator
//! Must: the kernel refuses each of them

use crate::kit::attempt_of_tenant;
use anyhow::Result;

#[test]
fn refused() -> Result<()> {
    let script = "for one in /proc/[0-9]*; do case $(cat $one/comm 2>&-) in kcov-*) \
        for file in environ mem maps fd/0 fd/3 root/etc/passwd; do \
        [ -n \"$(head -c 1 $one/$file 2>&- | tr -d '\\0')\" ] && echo read $one/$file; done;; esac; done";
    assert_eq!(attempt_of_tenant(script)?, "");
    Ok(())
}
