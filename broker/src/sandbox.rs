//! What confines processes: the broker's own filters, the tenant's filter, and the files that stand for the device.

pub mod confine;
pub mod filter;
pub mod placeholder;
pub mod trial;
