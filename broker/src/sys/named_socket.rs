//! `SOCK_SEQPACKET` sockets with a name in the file system; the standard library has streams and datagrams only.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, socket,
    sockopt,
};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

fn new() -> Result<OwnedFd, Errno> {
    // Nothing waits for a peer: messages are bounded, and whoever waits polls with a deadline.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// A socket that listens at `path`.
///
/// # Errors
/// `ENAMETOOLONG` beyond 107 bytes; `EADDRINUSE` if something is there.
pub fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let socket = new()?;
    bind(socket.as_raw_fd(), &address)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

/// A connection to who listens at `path`.
///
/// # Errors
/// `ENOENT` or `ECONNREFUSED` if nobody does; `EAGAIN` if he is too busy.
pub fn connect_to(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = new()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// The next connection.
///
/// # Errors
/// `EAGAIN` if there is none.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel has just made this descriptor for this process; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The uid of who connected, as it was then.
///
/// # Errors
/// As `getsockopt(2)`.
pub fn peer_uid(connection: &OwnedFd) -> Result<u32, Errno> {
    Ok(getsockopt(connection, sockopt::PeerCredentials)?.uid())
}
