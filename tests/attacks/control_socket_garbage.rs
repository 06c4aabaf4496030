//! Attacker: a program of the operator that was taken over
//! Tries: to send the service messages that are malformed, empty, and too long
//! Wins: the end of the service, or of its tenants
//! Must: the service goes on and obeys the next order

use anyhow::Result;
use kcov_tests::service::{Service, tenant};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use std::os::fd::AsRawFd;

#[test]
fn ignored() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    service.wait_state("one", "running")?;
    let address = UnixAddr::new(&service.session.path("ctl/socket"))?;
    for length in [0, 1, 7, 4096, 60_000, 200_000] {
        for byte in [0, 0x7f, 0xff] {
            let flags = SockFlag::SOCK_CLOEXEC;
            let one = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
            connect(one.as_raw_fd(), &address)?;
            // Fails if the message is too long for the socket.
            let _ = send(one.as_raw_fd(), &vec![byte; length], MsgFlags::MSG_NOSIGNAL);
        }
    }
    assert!(service.ordered(&["list"])?.contains("running"));
    service.stop()?;
    Ok(())
}
