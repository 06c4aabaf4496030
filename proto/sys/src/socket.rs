//! Messages with descriptors over `SOCK_SEQPACKET` sockets.

use kcov_proto::message::{self, MAX_BYTES, MessageError};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType, recv, recvmsg,
    send, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that accompany one message.
pub const MAX_FDS: usize = 8;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer closed its end.
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
        /// Its error.
        errno: Errno,
    },
    /// The peer sent a malformed message: it is at fault.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer sent more than the bounds allow: it is at fault.
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

/// Repeats a system call that a signal interrupts.
fn retry<T>(name: &'static str, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, ChannelError> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(|errno| system(name, errno)),
        }
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
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a pair of connected ends, close-on-exec.
///
/// # Errors
/// As `socketpair(2)`.
pub fn pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| system("socketpair", errno))
}

impl Channel {
    /// Sends `message` with `fds`; without any, by the call that costs the kernel less.
    ///
    /// # Errors
    /// If the peer is gone, or the message is longer than its bound.
    pub fn send<T: Serialize>(&mut self, message: &T, fds: &[&dyn AsFd]) -> Result<(), ChannelError> {
        self.send_flags(message, fds, MsgFlags::MSG_NOSIGNAL)
    }

    /// As [`send`](Self::send), but does not wait for room.
    ///
    /// # Errors
    /// Also [`ChannelError::WouldBlock`].
    pub fn try_send<T: Serialize>(&mut self, message: &T, fds: &[&dyn AsFd]) -> Result<(), ChannelError> {
        self.send_flags(message, fds, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
    }

    fn send_flags<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[&dyn AsFd],
        flags: MsgFlags,
    ) -> Result<(), ChannelError> {
        message::encode(message, &mut self.outgoing)?;
        let Self { fd, outgoing, incoming: _ } = self;
        let fd = fd.as_raw_fd();
        if fds.is_empty() {
            return retry("send", || send(fd, outgoing, flags)).map(drop);
        }
        let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let (bytes, rights) = ([IoSlice::new(outgoing)], [ControlMessage::ScmRights(&raw)]);
        retry("sendmsg", || sendmsg::<()>(fd, &bytes, &rights, flags, None)).map(drop)
    }

    /// Waits for a message and the descriptors that accompany it.
    ///
    /// # Errors
    /// If the peer is gone or sent a malformed message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        self.receive_flags(MsgFlags::empty())
    }

    /// Receives a message that is already there.
    ///
    /// # Errors
    /// [`ChannelError::WouldBlock`] if there is none; else as [`receive`](Self::receive).
    pub fn try_receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        self.receive_flags(MsgFlags::MSG_DONTWAIT)
    }

    /// Receives a message that is already there, from a peer that may not send descriptors: the kernel closes
    /// any that accompany it.
    ///
    /// # Errors
    /// As [`try_receive`](Self::try_receive).
    pub fn try_receive_bare<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        let fd = self.fd.as_raw_fd();
        // MSG_TRUNC: returns the length of the datagram even if that is longer than the buffer.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let room = self.room();
        let length = retry("recv", || recv(fd, room, flags))?;
        match room.get(..length) {
            None => Err(ChannelError::Truncated),
            Some([]) => Err(ChannelError::Closed),
            Some(bytes) => Ok(message::decode(bytes)?),
        }
    }

    fn receive_flags<T: DeserializeOwned>(
        &mut self,
        flags: MsgFlags,
    ) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let fd = self.fd.as_raw_fd();
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        let room = self.room();
        let (length, fds, cut) = retry("recvmsg", || {
            let mut bytes = [IoSliceMut::new(room)];
            let received = recvmsg::<()>(fd, &mut bytes, Some(&mut control), flags)?;
            let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
            Ok((received.bytes, owned_fds(&received), cut))
        })?;
        match (length, cut) {
            (_, true) => Err(ChannelError::Truncated),
            (0, _) => Err(ChannelError::Closed),
            (length, _) => Ok((message::decode(&room[..length])?, fds)),
        }
    }

    /// The buffer for an incoming message. It grows once; pages that no message reaches are never touched.
    fn room(&mut self) -> &mut [u8] {
        self.incoming.resize(MAX_BYTES, 0);
        &mut self.incoming
    }
}

/// Takes the descriptors out of a received message.
fn owned_fds(received: &RecvMsg<'_, '_, ()>) -> Vec<OwnedFd> {
    let Ok(messages) = received.cmsgs() else { return Vec::new() };
    messages
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        // SAFETY: the kernel has just made these descriptors for this receiver, and no owner has their
        // numbers.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}
