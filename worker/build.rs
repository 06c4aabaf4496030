//! Compiles the limit of the recording benchmark.

fn main() {
    const LIMIT: &str = "csrc/append_limit.c";
    println!("cargo::rerun-if-changed={LIMIT}");
    // Optimised in every profile: it stands for the kernel, which is.
    cc::Build::new().file(LIMIT).opt_level(2).compile("kcov_append_limit");
}
