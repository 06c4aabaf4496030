//! Messages with descriptors over `SOCK_SEQPACKET` sockets.

use kcov_proto::message::{self, MAX_BYTES, MessageError};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that ride beside one message.
pub const MAX_FDS: usize = 8;

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer closed its end: it is gone.
    #[error("the peer is gone")]
    Closed,
    /// Nothing to receive, or no room to send, on a non-blocking socket.
    #[error("the socket would block")]
    WouldBlock,
    /// The system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Its name.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// The peer sent something that is no message: it is at fault.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer sent more than fits: it is at fault.
    #[error("the message or its descriptors were cut off")]
    Truncated,
}

fn system(call: &'static str, errno: Errno) -> ChannelError {
    match errno {
        Errno::EAGAIN => ChannelError::WouldBlock,
        Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => ChannelError::Closed,
        errno => ChannelError::System { call, errno },
    }
}

/// One end of a socket pair, with the buffers that its messages pass through.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Channel { fd, outgoing: Vec::new(), incoming: Vec::new() }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A pair of connected ends, close-on-exec.
///
/// # Errors
/// As `socketpair(2)`.
pub fn pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| system("socketpair", errno))
}

impl Channel {
    /// Sends `message` with `fds` beside it.
    ///
    /// # Errors
    /// If the peer is gone, or the message is over its bound.
    pub fn send<T: Serialize>(&mut self, message: &T, fds: &[&dyn AsFd]) -> Result<(), ChannelError> {
        self.send_flags(message, fds, MsgFlags::MSG_NOSIGNAL)
    }

    /// As [`send`](Self::send), but never waits for room.
    ///
    /// # Errors
    /// Also [`ChannelError::WouldBlock`].
    pub fn try_send<T: Serialize>(&mut self, message: &T, fds: &[&dyn AsFd]) -> Result<(), ChannelError> {
        self.send_flags(message, fds, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
    }

    /// As [`try_send`](Self::try_send), with no descriptors: the shorter way through the kernel.
    ///
    /// # Errors
    /// As there.
    pub fn try_send_bare<T: Serialize>(&mut self, message: &T) -> Result<(), ChannelError> {
        message::encode(message, &mut self.outgoing)?;
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match send(self.fd.as_raw_fd(), &self.outgoing, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("send", errno)),
            }
        }
    }

    fn send_flags<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[&dyn AsFd],
        flags: MsgFlags,
    ) -> Result<(), ChannelError> {
        message::encode(message, &mut self.outgoing)?;
        let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let bytes = [IoSlice::new(&self.outgoing)];
        loop {
            match sendmsg::<()>(self.fd.as_raw_fd(), &bytes, control, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("sendmsg", errno)),
            }
        }
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// If the peer is gone or sent no message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        self.receive_flags(MsgFlags::empty())
    }

    /// A message that is already there.
    ///
    /// # Errors
    /// [`ChannelError::WouldBlock`] if none is; else as [`receive`](Self::receive).
    pub fn try_receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        self.receive_flags(MsgFlags::MSG_DONTWAIT)
    }

    /// A message that is already there, of a peer that may send no descriptors: any that ride beside are closed by
    /// the kernel.
    ///
    /// # Errors
    /// As [`try_receive`](Self::try_receive).
    pub fn try_receive_bare<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        self.incoming.resize(MAX_BYTES, 0);
        // MSG_TRUNC: the length of the datagram, even if it is longer than the buffer.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut self.incoming, flags) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(length) => break length,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("recv", errno)),
            }
        };
        let bytes = self.incoming.get(..length).ok_or(ChannelError::Truncated)?;
        Ok(message::decode(bytes)?)
    }

    fn receive_flags<T: DeserializeOwned>(
        &mut self,
        flags: MsgFlags,
    ) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        // Grows once; the pages that no message reaches are never touched.
        self.incoming.resize(MAX_BYTES, 0);
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, fds, cut) = loop {
            let mut bytes = [IoSliceMut::new(&mut self.incoming)];
            match recvmsg::<()>(self.fd.as_raw_fd(), &mut bytes, Some(&mut control), flags) {
                Ok(received) => {
                    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                    let fds = received.cmsgs().map(owned_fds).unwrap_or_default();
                    break (received.bytes, fds, cut);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("recvmsg", errno)),
            }
        };
        if cut {
            return Err(ChannelError::Truncated);
        }
        if length == 0 {
            return Err(ChannelError::Closed);
        }
        Ok((message::decode(&self.incoming[..length])?, fds))
    }
}

/// Takes the descriptors out of control messages.
fn owned_fds(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    messages
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        // SAFETY: the kernel has just made these descriptors for this receiver, and nobody else knows their numbers.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}
