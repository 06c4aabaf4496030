//! `kcov-broker.toml(5)`.

use super::{CONFIGURATION, entry, example};
use crate::config::keys::{Key, Keys, Kind, SECTIONS};
use clap::Command;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// An example of a configuration.
pub(super) const EXAMPLE: &str = r#"[serve.metrics]
file = "/var/lib/prometheus/node-exporter/kcov-broker.prom"

[defaults]
user = "kcov-tenant"
trace = "syzkaller"
artifacts = "/var/lib/kcov-broker/artifacts"

[[tenant]]
name = "fuzz-0"
command = ["/usr/local/bin/fuzzer", "0"]
handlers = ["/usr/local/lib/kcov/target.so:verbose"]
restart = "always"

[tenant.quotas]
area = "64M"
total = "512M"
"#;

/// Renders the page.
pub fn page(program: &Command) -> Roff {
    let mut roff = Roff::new();
    let version = format!("kcov-broker {}", program.get_version().unwrap_or_default());
    roff.control("TH", [CONFIGURATION, "5", "", version.as_str(), ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{CONFIGURATION} - configuration of kcov-broker serve"))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A TOML file that defines which commands kcov-broker-serve(1) runs, and how. Unknown keys are errors; \
         kcov-broker-check(1) reports all errors of a file. The installed service reads /etc/kcov-broker/serve.toml.",
    )]);
    SECTIONS.iter().for_each(|section| add(&mut roff, section));
    roff.control("SH", ["VALUES"]);
    let values = [
        (
            "time",
            "A number of seconds, or a string with a unit: \"500ms\", \"5s\", \"2m\". From 10 ms to a day.",
        ),
        (
            "size",
            "A number of bytes, or a string with a suffix for a power of 1024: \"64K\", \"2M\", \"1G\".",
        ),
        ("path", "A string. Relative paths start in the directory of the file."),
    ];
    values.into_iter().for_each(|(term, text)| entry(&mut roff, &[italic(term)], text));
    roff.control("SH", ["EXAMPLE"]);
    example(&mut roff, EXAMPLE);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "kcov-broker-serve(1), kcov-broker-check(1), kcov-broker-tenant(1), kcov-broker-run(1), kcov-handler(7)",
    )]);
    roff
}

fn add(roff: &mut Roff, section: &Keys) {
    roff.control("SH", [section.head]);
    roff.text([roman(section.purpose)]);
    section.keys.iter().for_each(|key| entry(roff, &term(key), key.purpose));
}

fn term(key: &Key) -> Vec<Inline> {
    let kind = match key.kind {
        Kind::Text => italic("string"),
        Kind::Texts => italic("strings"),
        Kind::Path => italic("path"),
        Kind::Time => italic("time"),
        Kind::Size => italic("size"),
        Kind::Count => italic("integer"),
        Kind::Switch => roman("true|false"),
        Kind::Variables => roman("{ NAME = \"VALUE\" }"),
        Kind::OneOf(names) => {
            roman(names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join("|"))
        }
        Kind::Section => roman("{ ... }"),
    };
    let default = key.default().map(|default| roman(format!("  [default: {default}]")));
    [bold(key.name), roman(" = "), kind].into_iter().chain(default).collect()
}
