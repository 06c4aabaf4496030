//! The privileged side of kcov-broker: it gives a command a KCOV device that user-space handlers feed.
//!
//! # Processes
//! | process | module | privilege | holds |
//! |---|---|---|---|
//! | front | [`front`] | the user's | a socket to the broker, the terminal |
//! | manager, of a service, in the front's place | [`serve`] | the service's | a socket to each tenant's broker |
//! | metrics, of a service that keeps them | [`serve::exporting`] | one capability | nothing; tells what brokers show |
//! | broker | [`broker`] | few capabilities, filtered | listener, registry, every arena |
//! | spawner | [`spawner`] | the user's | a socket to the broker; starts the ones below |
//! | tender | [`spawner::tender`] | the user's | the tenant's processes, as their subreaper |
//! | reader, one a worker | [`reader`] | may read memory and resolve paths | the listener, a socket to its worker |
//! | zygote and workers | crate `kcov-worker` | none, jailed | see there |
//!
//! # The way of one notification
//! A worker receives it and asks, where it may not do a thing itself. [`broker`] is the event loop; [`assist`]
//! answers, by the table of [`permit`] and the rules of [`kcov_proto::device`], through the [`registry`], which keeps
//! device, arenas, threads and roster in step. At its ticks the broker shows an operator what it counts: [`live`].
//!
//! # Invariants
//! - The broker has one thread and one blocking point ([`poller`]). It never waits for a worker, a reader or a zygote,
//!   and never touches a tenant's memory or file system: a reader does, and may get stuck in its stead.
//! - Whatever a worker, zygote or tenant can write is an allegation: bounded, read once, checked, then used.
//! - What took effect is remembered until its caller was told: a worker's death never turns a done call into another.
//! - No caller waits longer than the deadline: whoever holds it up is killed, and the caller gets `EIO`.
//! - Nothing outlives the tenant: processes end by their sockets, mounts by their namespace, arenas by their last
//!   descriptor.
//!
//! # Not promised
//! Handlers are no security policy (`seccomp_unotify(2)`): a worker that was taken over can let its own tenant's calls
//! go on. Opens by io_uring never pass the filter.

pub mod allowance;
pub mod arena;
pub mod arena_table;
pub mod artifact;
pub mod assist;
pub mod back_off;
pub mod bench;
pub mod broker;
pub mod call_name;
pub mod cargo;
pub mod cgroup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confine;
pub mod control;
pub mod cover;
pub mod crash_log;
pub mod descriptor_limit;
pub mod doctor;
pub mod files;
pub mod filter;
pub mod front;
pub mod hidden;
pub mod launch;
pub mod live;
pub mod logs;
pub mod manual;
pub mod permit;
pub mod placeholder;
pub mod poller;
pub mod preload;
pub mod procfs;
pub mod quotas;
pub mod reader;
pub mod reader_process;
pub mod received;
pub mod refusal_log;
pub mod registry;
pub mod replay;
pub mod report;
pub mod requests;
pub mod retries;
pub mod rootless;
pub mod run;
pub mod serve;
pub mod spawner;
pub mod spawner_client;
pub mod spelling;
pub mod symbolize;
pub mod sys;
pub mod tenant;
pub mod threads;
pub mod trace_set;
pub mod trial;
pub mod untaken;
pub mod worker_output;
pub mod worker_process;
