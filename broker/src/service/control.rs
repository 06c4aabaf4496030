//! The control socket: how an operator speaks to a running `kcov-broker serve`.
//!
//! It is a `SOCK_SEQPACKET` socket in a directory of mode 0700; who connects must be root or the user that serves, as
//! the kernel says (`SO_PEERCRED`). Each request is one bounded datagram and gets one bounded reply, so the server never
//! keeps anything for a client that does not read; what is longer than one reply is asked for page by page.

pub mod client;
pub mod message;
pub mod socket;
pub mod table;
