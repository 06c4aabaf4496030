//! Attacker: a program of the operator that was taken over
//! Tries: to open many connections to the service and send nothing
//! Wins: a service that answers nobody, or that has no descriptors left
//! Must: orders are obeyed again as soon as the connections end, and tenants run on

use anyhow::Result;
use kcov_tests::service::{Service, tenant};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::os::fd::AsRawFd;

#[test]
fn outlived() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    service.wait_state("one", "running")?;
    let address = UnixAddr::new(&service.session.path("ctl/socket"))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let mut crowd = Vec::new();
    for _ in 0..400 {
        let one = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        // EAGAIN: the backlog is full.
        let _ = connect(one.as_raw_fd(), &address);
        crowd.push(one);
    }
    drop(crowd);
    assert!(service.ordered(&["list"])?.contains("running"));
    service.stop()?;
    Ok(())
}
