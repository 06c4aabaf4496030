//! A worker program without built-in handlers. The broker starts it as a tenant's zygote.

use std::process::ExitCode;

fn main() -> ExitCode {
    kcov_worker::main([])
}
