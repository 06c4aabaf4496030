//! Clients of the control socket. Each has at most one request at a time, and the server never waits for one.

use super::watch::Watched;
use crate::service::control::message::{Reply, Request};
use crate::service::control::socket::ControlSocket;
use crate::sys::poller::Poller;
use crate::sys::socket::{Channel, ChannelError};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Maximum number of clients. A further one replaces the one that has been silent for longest.
const MAX: usize = 64;
/// A client that is silent for this long is disconnected.
const MAX_SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Client {
    channel: Channel,
    /// Time of its last request.
    heard: Duration,
}

/// The connected clients.
#[derive(Debug, Default)]
pub struct Clients {
    clients: BTreeMap<u32, Client>,
}

impl Clients {
    /// Accepts a client that may control the service. `serial` returns a new number for it.
    pub fn accept(
        &mut self,
        control: &ControlSocket,
        poller: &Poller<Watched>,
        mut serial: impl FnMut() -> u32,
        now: Duration,
    ) {
        // One at a time: the poller reports the socket again if there are more.
        let Some(connection) = control.accept() else { return };
        let serial = serial();
        if poller.add(&connection, Watched::Client(serial)).is_ok() {
            self.make_room();
            self.insert(serial, connection, now);
        }
    }

    fn insert(&mut self, serial: u32, connection: OwnedFd, now: Duration) {
        self.clients.insert(serial, Client { channel: connection.into(), heard: now });
    }

    fn make_room(&mut self) {
        if self.clients.len() >= MAX {
            let silent =
                self.clients.iter().min_by_key(|(_, client)| client.heard).map(|(serial, _)| *serial);
            silent.into_iter().for_each(|serial| drop(self.clients.remove(&serial)));
        }
    }

    /// The request of a client; `None` if there is none. A client that sends a malformed request is
    /// disconnected.
    pub fn request(&mut self, serial: u32, now: Duration) -> Option<Request> {
        let client = self.clients.get_mut(&serial)?;
        match client.channel.try_receive_bare() {
            Ok(request) => {
                client.heard = now;
                Some(request)
            }
            Err(ChannelError::WouldBlock) => None,
            Err(_) => {
                self.clients.remove(&serial);
                None
            }
        }
    }

    /// Sends a reply. A client whose socket buffer is full does not read its replies, and is disconnected.
    pub fn answer(&mut self, serial: u32, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&serial)
            && client.channel.try_send(reply, &[]).is_err()
        {
            self.clients.remove(&serial);
        }
    }

    /// Disconnects silent clients.
    pub fn drop_silent(&mut self, now: Duration) {
        self.clients.retain(|_, client| now.saturating_sub(client.heard) < MAX_SILENCE);
    }

    /// When the next client is disconnected for its silence.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.clients.values().map(|client| client.heard + MAX_SILENCE).min()
    }
}
