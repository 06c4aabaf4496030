//! The command line of the worker program, which the broker writes and users do not.

use crate::zygote::{self, ZygoteConfig};
use std::process::ExitCode;

const USAGE: &str = "\
kcov-worker is started by kcov-broker and is of no use by itself.
usage: kcov-worker zygote --uid=N --parent=PID
       kcov-worker bench-record [--json]";

/// Runs the program with `arguments`, its name left out.
#[must_use]
pub fn program(arguments: Vec<String>) -> ExitCode {
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "zygote" => match config(rest) {
            Some(config) => zygote::run(&config).map_err(|error| error.to_string()),
            None => Err(USAGE.to_owned()),
        },
        Some((command, _)) if command == "bench-record" => {
            crate::bench::run().map_err(|error| format!("{error:#}"))
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("kcov-worker: {message}");
            ExitCode::from(125)
        }
    }
}

fn config(arguments: &[String]) -> Option<ZygoteConfig> {
    let mut config = ZygoteConfig::default();
    for argument in arguments {
        match argument.split_once('=')? {
            ("--uid", value) => config.uid = value.parse().ok()?,
            ("--parent", value) => config.parent = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(config)
}
