//! Configurations of a service, which clients can also send over its socket.
#![no_main]

use kcov_broker::config::{Config, Source};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(errors) = Config::parse(text, &Source::file(Path::new("fuzz.toml"))) {
        assert!(!errors.0.is_empty());
        // Each error has its place, whatever the text.
        assert!(errors.to_string().lines().count() >= errors.0.len());
    }
});
