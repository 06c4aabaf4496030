//! The privileged side of kcov-broker: it gives a command a KCOV device that user-space handlers feed.
//!
//! # Processes
//! | process | module | privilege | holds |
//! |---|---|---|---|
//! | front | [`front`] | the user's | a socket to the broker, the terminal |
//! | manager, of a service, in the front's place | [`service`] | the service's | a socket to each tenant's broker |
//! | metrics, of a service that exports them | [`service::metrics_process`] | one capability | nothing; reads what brokers publish |
//! | broker | [`broker`] | few capabilities, filtered | listener, registry, every arena |
//! | spawner | [`processes::spawner`] | the user's | a socket to the broker; starts the ones below |
//! | tender | [`processes::spawner::tender`] | the user's | the tenant's processes, as their subreaper |
//! | reader, one a worker | [`processes::reader`] | may read memory and resolve paths | the listener, a socket to its worker |
//! | zygote and workers | crate `kcov-worker` | none, jailed | see there |
//!
//! # The way of one notification
//! A worker receives it and asks, where it may not do a thing itself. [`broker`] is the event loop;
//! [`tenant`] answers, by the table of [`tenant::workers::permit`] and the rules of [`kcov_proto::device`],
//! through the [`kcov::registry`], which keeps device, arenas, threads and roster in step. At its ticks the
//! broker shows an operator what it counts: [`live`].
//!
//! # Invariants
//! - The broker has one thread and one blocking point ([`sys::poller`]). It never waits for a worker, a
//!   reader or a zygote, and never touches a tenant's memory or file system: a reader does, and may get stuck
//!   in its stead.
//! - Whatever a worker, zygote or tenant can write is an allegation: bounded, read once, checked, then used.
//! - What took effect is remembered until its caller was told: a worker's death never turns a done call into
//!   another.
//! - No caller waits longer than the deadline: whoever holds it up is killed, and the caller gets `EIO`.
//! - Nothing outlives the tenant: processes end by their sockets, mounts by their namespace, arenas by their
//!   last descriptor.
//!
//! # Not promised
//! Handlers are no security policy (`seccomp_unotify(2)`): a worker that was taken over can let its own
//! tenant's calls go on. Opens by io_uring never pass the filter.
#![deny(unsafe_code)]

pub mod artifact;
pub mod broker;
pub mod cli;
pub mod commands;
pub mod config;
pub mod front;
pub mod kcov;
pub mod launch;
pub mod live;
pub mod logs;
pub mod printable;
pub mod processes;
pub mod sandbox;
pub mod service;
pub mod symbolize;
#[expect(unsafe_code, reason = "system calls without a safe wrapper, and shared memory")]
pub mod sys;
pub mod tenant;
