//! `SOCK_SEQPACKET` sockets with a path. The standard library has streams and datagrams only.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, socket,
    sockopt,
};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

fn new() -> Result<OwnedFd, Errno> {
    // No call waits for a peer: callers poll with a deadline.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// Makes a socket that listens at `path`.
///
/// # Errors
/// `ENAMETOOLONG` if the path is longer than 107 bytes; `EADDRINUSE` if it exists.
pub fn listen_at(path: &Path) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let socket = new()?;
    bind(socket.as_raw_fd(), &address)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

/// Connects to the socket that listens at `path`.
///
/// # Errors
/// `ENOENT` or `ECONNREFUSED` if there is none; `EAGAIN` if its backlog is full.
pub fn connect_to(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = new()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Accepts the next connection.
///
/// # Errors
/// `EAGAIN` if there is none.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the effective uid of the peer at the time of its `connect`.
///
/// # Errors
/// As `getsockopt(2)`.
pub fn peer_uid(connection: &OwnedFd) -> Result<u32, Errno> {
    Ok(getsockopt(connection, sockopt::PeerCredentials)?.uid())
}
