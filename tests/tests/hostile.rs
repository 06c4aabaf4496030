//! What a hostile tenant does to the device, to its own processes and to limited resources. Each hostile
//! client checks its own outcome, and a quiet tenant beside it keeps running correctly.
//!
//! | module | acts |
//! |---|---|
//! | [`beside`] | the quiet tenant, and the assertions about every pair |
//! | [`device`] | files, descriptors and areas |
//! | [`tasks`] | signals, races of tasks, filters, tracers, stops, the freezer |
//! | [`resources`] | descriptors, processes, memory, mappings, instances, areas |
//! | [`stuck`] | memory and paths that cannot be read |

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
