//! The control socket, through which operators control a running `kcov-broker serve`.
//!
//! It is a `SOCK_SEQPACKET` socket in a directory with mode 0700. Clients must be root or the user of the
//! service (`SO_PEERCRED`). Each request is one bounded datagram with one bounded reply, so the server
//! buffers nothing for clients that do not read. Longer lists are requested page by page.

pub mod client;
pub mod message;
pub mod socket;
pub mod table;
