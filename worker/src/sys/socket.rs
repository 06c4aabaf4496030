//! Messages with descriptors over the inherited `SOCK_SEQPACKET` sockets.

use kcov_proto::message::{self, MAX_BYTES, MessageError};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, recvmsg, send, sendmsg};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that ride beside one message.
pub const MAX_FDS: usize = 8;

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer closed its end: it is gone.
    #[error("the peer is gone")]
    Closed,
    /// The system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Its name.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// The peer sent something that is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer sent more than fits.
    #[error("the message or its descriptors were cut off")]
    Truncated,
}

fn system(call: &'static str, errno: Errno) -> ChannelError {
    match errno {
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
        Channel { fd, outgoing: Vec::new(), incoming: vec![0; MAX_BYTES] }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Channel {
    /// Sends `message`.
    ///
    /// # Errors
    /// If the peer is gone, or the message is over its bound.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), ChannelError> {
        message::encode(message, &mut self.outgoing)?;
        loop {
            match send(self.fd.as_raw_fd(), &self.outgoing, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("send", errno)),
            }
        }
    }

    /// Sends `message` with a descriptor beside it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with<T: Serialize>(&mut self, message: &T, fd: BorrowedFd<'_>) -> Result<(), ChannelError> {
        message::encode(message, &mut self.outgoing)?;
        let (bytes, fds) = ([IoSlice::new(&self.outgoing)], [fd.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&fds)];
        loop {
            match sendmsg::<()>(self.fd.as_raw_fd(), &bytes, &rights, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("sendmsg", errno)),
            }
        }
    }

    /// Waits for a message and the descriptors beside it.
    ///
    /// # Errors
    /// If the peer is gone or sent no message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let (length, fds, cut) = loop {
            let mut bytes = [IoSliceMut::new(&mut self.incoming)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.fd.as_raw_fd(), &mut bytes, Some(&mut control), flags) {
                Ok(received) => {
                    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                    break (received.bytes, owned_fds(&received), cut);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("recvmsg", errno)),
            }
        };
        match (length, cut) {
            (_, true) => Err(ChannelError::Truncated),
            (0, _) => Err(ChannelError::Closed),
            (length, _) => Ok((message::decode(&self.incoming[..length])?, fds)),
        }
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
        // SAFETY: the kernel has just made these descriptors for this receiver, and nobody else knows their numbers.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Takes over a descriptor that the spawner left open for this program.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(Errno::last());
    }
    // SAFETY: it is open, and this program, which has just started, has handed it to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
