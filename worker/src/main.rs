//! The worker program: started by the broker as a tenant's zygote.

use std::process::ExitCode;

fn main() -> ExitCode {
    kcov_worker::program(std::env::args().skip(1).collect())
}
