//! The program `kcov-broker`.

fn main() -> std::process::ExitCode {
    kcov_broker::cli::main()
}
