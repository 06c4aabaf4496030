//! `kcov-broker serve`: many tenants, an operator, and the death of each kind of process.

#[path = "serve/check.rs"]
mod check;
#[path = "serve/ends.rs"]
mod ends;
#[path = "serve/journal.rs"]
mod journal;
#[path = "serve/killer.rs"]
mod killer;
#[path = "serve/load.rs"]
mod load;
#[path = "serve/many.rs"]
mod many;
#[path = "serve/metrics.rs"]
mod metrics;
#[path = "serve/orders.rs"]
mod orders;
#[path = "serve/others.rs"]
mod others;
#[path = "serve/tenants.rs"]
mod tenants;

const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;
