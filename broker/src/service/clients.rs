//! Clients of the control socket, each with at most one request at a time and no claim to the server's patience.

use super::watch::Watched;
use crate::broker::poller::Poller;
use crate::service::control::message::{Reply, Request};
use crate::service::control::socket::ControlSocket;
use crate::sys::socket::{Channel, ChannelError};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Most clients at a time; one more takes the place of the one that has been silent for longest.
const MOST: usize = 64;
/// A client that is silent for so long is let go.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Client {
    channel: Channel,
    heard: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Clients {
    clients: BTreeMap<u32, Client>,
}

impl Clients {
    /// Lets everybody in that may come in. `serial` is a number for one of them.
    pub fn accept(
        &mut self,
        control: &ControlSocket,
        poller: &Poller<Watched>,
        mut serial: impl FnMut() -> u32,
        now: Duration,
    ) {
        // One at a time: the rest is told of again.
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
        if self.clients.len() >= MOST {
            let silent =
                self.clients.iter().min_by_key(|(_, client)| client.heard).map(|(serial, _)| *serial);
            silent.into_iter().for_each(|serial| drop(self.clients.remove(&serial)));
        }
    }

    /// The request of a client; `None` if it has none. One that sends what is no request is let go.
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

    /// Answers a client. One that has no room for it does not read what it asks for, and is let go.
    pub fn answer(&mut self, serial: u32, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&serial)
            && client.channel.try_send(reply, &[]).is_err()
        {
            self.clients.remove(&serial);
        }
    }

    /// Lets go of the silent.
    pub fn time(&mut self, now: Duration) {
        self.clients.retain(|_, client| now.saturating_sub(client.heard) < SILENCE);
    }

    /// When time makes a difference next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.clients.values().map(|client| client.heard + SILENCE).min()
    }
}
