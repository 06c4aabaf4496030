//! The broker's helper processes, and the broker's side of their channels.

pub mod ending;
pub mod reader;
pub mod spawner;
pub mod spawner_client;
