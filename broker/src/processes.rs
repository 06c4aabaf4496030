//! The broker's helper processes and its ends of the channels to them.

pub mod reader;
pub mod spawner;
pub mod spawner_client;
