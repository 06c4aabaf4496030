//! Compiles the limit of the recording benchmark, and exports what libraries with handlers look for.

fn main() {
    const LIMIT: &str = "csrc/append_limit.c";
    println!("cargo::rerun-if-changed={LIMIT}");
    // Optimised in every profile: it stands for the kernel, which is.
    cc::Build::new().file(LIMIT).opt_level(2).compile("kcov_append_limit");
    // Libraries of handlers find it there. A worker program of another package says the same in its build script.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=__sanitizer_cov_*");
    // For a sanitizer that a handler brings.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=__ubsan_default_options");
    refuse_to_cover_itself();
}

/// The runtime of the coverage would call itself without end.
fn refuse_to_cover_itself() {
    const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
    println!("cargo::rerun-if-env-changed={FLAGS}");
    if std::env::var(FLAGS).is_ok_and(|flags| flags.contains("sanitizer-coverage")) {
        println!(
            "cargo::error=RUSTFLAGS instrument every crate, kcov-worker too: instrument your handlers alone, as its \
             documentation says"
        );
    }
}
