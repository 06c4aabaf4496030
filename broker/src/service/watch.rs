//! The descriptors that the manager watches.

use crate::sys::poller::Name;

/// A descriptor that became ready. Runs and clients are identified by numbers that are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The signalfd.
    Signals,
    /// The control socket: a client is connecting.
    Control,
    /// The socket to the broker of this run.
    Link(u32),
    /// The pidfd of that broker: it has exited.
    Broker(u32),
    /// The pidfd of its spawner: it has exited.
    Spawner(u32),
    /// The socket of this client.
    Client(u32),
    /// The pidfd of the process that exports metrics: it has exited.
    Metrics,
}

const SHIFT: u32 = 32;

impl Name for Watched {
    fn encode(self) -> u64 {
        let (kind, serial) = match self {
            Watched::Signals => (0, 0),
            Watched::Control => (1, 0),
            Watched::Link(serial) => (2, serial),
            Watched::Broker(serial) => (3, serial),
            Watched::Spawner(serial) => (4, serial),
            Watched::Client(serial) => (5, serial),
            Watched::Metrics => (6, 0),
        };
        kind << SHIFT | u64::from(serial)
    }

    fn decode(data: u64) -> Option<Self> {
        let serial = data as u32;
        Some(match data >> SHIFT {
            0 => Watched::Signals,
            1 => Watched::Control,
            2 => Watched::Link(serial),
            3 => Watched::Broker(serial),
            4 => Watched::Spawner(serial),
            5 => Watched::Client(serial),
            6 => Watched::Metrics,
            _ => return None,
        })
    }
}
