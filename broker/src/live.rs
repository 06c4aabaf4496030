//! The live view: brokers publish the state of their tenants in shared memory; monitoring commands read it.
//!
//! | module | side | purpose |
//! |---|---|---|
//! | [`publisher`] | broker | writes the counters of its tenant into a segment at each clock tick |
//! | [`identity`] | both | identifies a broker process across reboots and PID namespaces |
//! | [`catalogue`] | reader | finds and copies the segments of a machine, tells live brokers from dead ones |
//! | [`tenant_view`], [`figures`] | reader | a tenant and its numbers as commands show them |
//! | [`selection`] | reader | selects tenants by name and user |
//! | [`metrics`], [`exporter`] | reader | text for Prometheus, in a file or over HTTP on a socket |
//!
//! The commands `status`, `top` and `metrics` are in [`crate::commands`].
//!
//! A segment is a file `/dev/shm/kcov-broker.UID.RUN`, laid out by [`kcov_proto::view`]. The broker creates it before
//! it drops the right to open files. The spawner removes it when the broker has ended for any reason. If both were
//! killed the file remains: readers see that its broker is dead, and the next run of the same user removes it.
//!
//! # Invariants
//! - The broker never reads its segment, and readers cannot write it: only the broker's user has write permission.
//! - Readers copy with `pread(2)` and do not map the file. If its owner truncates it, a reader gets a short read; with
//!   a mapping it would get SIGBUS.
//! - The broker writes at its clock ticks, never while it handles a call.

pub mod catalogue;
pub mod exporter;
pub mod figures;
pub mod identity;
pub mod metrics;
pub mod publisher;
pub mod selection;
pub mod tenant_view;
