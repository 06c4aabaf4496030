//! What the manager waits for.

use crate::sys::poller::Name;

/// What became ready. Numbers are serials that are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A signal.
    Signals,
    /// A client that wants to connect.
    Control,
    /// A word of the broker of this run, or the end of its socket.
    Link(u32),
    /// The end of that broker.
    Broker(u32),
    /// The end of its spawner.
    Spawner(u32),
    /// A request of this client, or its end.
    Client(u32),
    /// The end of the process for metrics.
    Exporter,
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
            Watched::Exporter => (6, 0),
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
            6 => Watched::Exporter,
            _ => return None,
        })
    }
}
