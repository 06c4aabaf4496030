//! Compiles the C code of the recording benchmark, and exports the symbols that handler libraries need.

fn main() {
    const LIMITS: [&str; 2] = ["csrc/append_limit.c", "csrc/append_shared.c"];
    LIMITS.iter().for_each(|file| println!("cargo::rerun-if-changed={file}"));
    // Optimised in every profile, because it stands for the kernel, which is optimised.
    cc::Build::new().files(LIMITS).opt_level(2).compile("kcov_append_limit");
    // Handler libraries find the coverage runtime there. Worker programs of other packages need this line in
    // their build script.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=__sanitizer_cov_*");
    // Lets the worker set options for a UBSan runtime that a handler library brings.
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=__ubsan_default_options");
    refuse_to_cover_itself();
}

/// The coverage runtime would call itself recursively.
fn refuse_to_cover_itself() {
    const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
    println!("cargo::rerun-if-env-changed={FLAGS}");
    if std::env::var(FLAGS).is_ok_and(|flags| flags.contains("sanitizer-coverage")) {
        println!(
            "cargo::error=RUSTFLAGS instruments every crate, including kcov-worker: instrument only your handlers, \
             see the documentation of kcov-worker"
        );
    }
}
