//! The worker program without handlers of its own: started by the broker as a tenant's zygote.

use std::process::ExitCode;

fn main() -> ExitCode {
    kcov_worker::main([])
}
