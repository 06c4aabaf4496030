//! Attacker: a tenant of a service, with its own user
//! Tries: to name its process kcov-broker, and to put files into the folders of the service
//! Wins: trust of the service in a process or a file of the tenant
//! Must: no folder of the service can be written, and the service goes on

use crate::kit::attempt_of_tenant;
use anyhow::Result;

#[test]
fn refused() -> Result<()> {
    let script = "printf kcov-broker >/proc/self/comm; \
        for folder in /run /run/kcov-broker /var/lib/kcov-broker /etc/kcov-broker; do \
        (: >$folder/planted) 2>&- && echo wrote to $folder; done";
    assert_eq!(attempt_of_tenant(script)?, "");
    Ok(())
}
