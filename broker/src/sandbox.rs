//! Confinement: the broker's own filters, the tenant's filter, and the files that take the place of the
//! device.

pub mod confine;
pub mod filter;
pub mod placeholder;
