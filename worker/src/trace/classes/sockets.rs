//! Sockets.

use super::argument::{Class, byte, int};

/// `AF_*`.
pub const FAMILY: Class = &[
    int(libc::AF_UNIX as i64),
    int(libc::AF_INET as i64),
    int(libc::AF_INET6 as i64),
    int(libc::AF_NETLINK as i64),
    int(libc::AF_PACKET as i64),
    int(libc::AF_VSOCK as i64),
];
/// `SOCK_*`; the type is in the low byte.
pub const SOCKET: Class = &[
    byte(0, libc::SOCK_STREAM as u8),
    byte(0, libc::SOCK_DGRAM as u8),
    byte(0, libc::SOCK_RAW as u8),
    byte(0, libc::SOCK_SEQPACKET as u8),
    int((libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as i64),
];
/// `IPPROTO_*`.
pub const PROTOCOL: Class = &[
    int(libc::IPPROTO_ICMP as i64),
    int(libc::IPPROTO_TCP as i64),
    int(libc::IPPROTO_UDP as i64),
    int(libc::IPPROTO_SCTP as i64),
];
/// Levels of socket options.
pub const LEVEL: Class = &[
    int(libc::SOL_SOCKET as i64),
    int(libc::IPPROTO_TCP as i64),
    int(libc::IPPROTO_IPV6 as i64),
    int(libc::SOL_NETLINK as i64),
    int(libc::SOL_PACKET as i64),
];
/// Options of `SOL_SOCKET`.
pub const OPTION: Class = &[
    int(libc::SO_REUSEADDR as i64),
    int(libc::SO_RCVBUF as i64),
    int(libc::SO_ATTACH_FILTER as i64),
    int(libc::SO_ZEROCOPY as i64),
];
/// Length of a socket option in bytes.
pub const OPTION_LENGTH: Class = &[int(4), int(8), int(16)];
/// Length of an address in bytes (`sizeof(struct sockaddr_storage)`, `sockaddr_in`, `sockaddr_in6`, `sockaddr_un`).
pub const ADDRESS_LENGTH: Class = &[int(128), int(16), int(28), int(110)];
/// `MSG_*`.
pub const MSG: Class = &[
    int(libc::MSG_OOB as i64),
    int(libc::MSG_PEEK as i64),
    int(libc::MSG_DONTWAIT as i64),
    int(libc::MSG_ERRQUEUE as i64),
    int(libc::MSG_FASTOPEN as i64),
];
/// Backlog of `listen` (`net.core.somaxconn`).
pub const BACKLOG: Class = &[int(4096)];
/// `SHUT_*`.
pub const SHUTDOWN: Class = &[int(1), int(2)];
/// Call numbers of `socketcall`.
pub const SOCKETCALL: Class = &[int(1), int(2), int(3), int(9), int(16)];
