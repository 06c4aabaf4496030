//! The table and the parser know the same keys, with the same defaults.

use super::*;
use crate::config::errors::ConfigError;
use crate::config::{Config, Draft, Source};
use std::collections::BTreeSet;

/// A tenant with the required keys.
const NEEDED: &str = "[[tenant]]\nname = \"one\"\ncommand = [\"a\"]\n";

/// A configuration with `line` in `section`, and everything that is required.
fn text(section: &Keys, line: &str) -> String {
    match section.head {
        "[serve.metrics]" => format!("{NEEDED}[serve.metrics]\nfile = \"f\"\n{line}\n"),
        "[[tenant]]" => format!("{NEEDED}{line}\n"),
        head => format!("{NEEDED}{head}\n{line}\n"),
    }
}

fn errors(text: &str) -> Vec<ConfigError> {
    let source = Source { name: "f".into(), directory: "/d".into() };
    Draft::read(text, &source).checked().map_or_else(|errors| errors.0, |_| Vec::new())
}

fn config(text: &str) -> Config {
    let source = Source { name: "f".into(), directory: "/d".into() };
    Config::parse(text, &source).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The known keys, as the parser lists them in the error for an unknown one.
fn known(text: &str) -> BTreeSet<String> {
    let errors = errors(text);
    let list = errors.iter().find_map(|error| error.message.strip_prefix("unknown key; known keys are: "));
    list.expect("a list").split(", ").map(str::to_owned).collect()
}

#[test]
fn the_parser_and_the_table_know_the_same_keys() {
    for section in SECTIONS {
        let listed: BTreeSet<_> = section.keys.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(listed.len(), section.keys.len(), "{}: a key twice", section.head);
        assert_eq!(known(&text(section, "0 = 1")), listed, "{}", section.head);
    }
    let mut of_defaults: BTreeSet<_> = TENANT.keys.iter().map(|key| key.name.to_owned()).collect();
    assert!(of_defaults.remove("name") && of_defaults.remove("command"));
    assert_eq!(known("[defaults]\n0 = 1\n"), of_defaults);
}

#[test]
fn documented_defaults_are_those_of_the_parser() {
    for section in SECTIONS {
        let without = config(&text(section, ""));
        for key in section.keys {
            let Some(default) = key.default() else { continue };
            let with = config(&text(section, &format!("{} = {default}", key.name)));
            assert_eq!(with.serve, without.serve, "{} {}", section.head, key.name);
            assert!(with.tenants[0].is_same(&without.tenants[0]), "{} {}", section.head, key.name);
        }
    }
}

#[test]
fn a_key_takes_values_of_its_kind_and_no_dates() {
    for section in SECTIONS {
        for key in section.keys.iter().filter(|key| !["name", "command", "file"].contains(&key.name)) {
            let with = |value: &str| errors(&text(section, &format!("{} = {value}", key.name)));
            assert!(!with("1979-05-27").is_empty(), "{}: a date", key.name);
            let values: &[&str] = match key.kind {
                Kind::Text | Kind::Variables | Kind::Section => &[],
                Kind::Texts => &["[]"],
                Kind::Path => &["\"x/y\"", "\"/x\""],
                Kind::Time => &["1", "0.5", "\"500ms\"", "\"2m\""],
                Kind::Size => &["1", "\"1M\""],
                Kind::Count => &["0", "7"],
                Kind::Switch => &["true", "false"],
                Kind::OneOf(names) => {
                    names.iter().for_each(|name| assert!(with(&format!("{name:?}")).is_empty(), "{name}"));
                    &[]
                }
            };
            for value in values {
                // Keys about groups require a user.
                let errors = with(value);
                let others = errors.iter().filter(|error| !error.message.contains("without a user"));
                assert_eq!(others.count(), 0, "{} = {value}: {errors:?}", key.name);
            }
        }
    }
}
