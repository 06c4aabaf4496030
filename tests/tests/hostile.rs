//! What a hostile tenant does to the device, to its own processes and to what there is of everything: each act has an
//! outcome that the client itself checks, and a quiet tenant beside it runs on, undisturbed and correct.
//!
//! | module | acts |
//! |---|---|
//! | [`beside`] | the quiet tenant, and what is asserted of every pair |
//! | [`device`] | files, descriptors and areas |
//! | [`tasks`] | signals, races of tasks, filters, tracers, stops, the freezer |
//! | [`resources`] | descriptors, processes, memory, mappings, instances, areas |
//! | [`stuck`] | memory and paths that nobody can read |

#[path = "hostile/beside.rs"]
mod beside;
#[path = "hostile/device.rs"]
mod device;
#[path = "hostile/group.rs"]
mod group;
#[path = "hostile/resources.rs"]
mod resources;
#[path = "hostile/stuck.rs"]
mod stuck;
#[path = "hostile/tasks.rs"]
mod tasks;
