//! The pages are complete and consistent.

use super::*;
use crate::config::{Config, Source};
use clap::CommandFactory;

fn pages() -> Vec<(String, String)> {
    let directory = tempfile::tempdir().expect("a directory");
    write(crate::cli::Cli::command(), directory.path()).expect("pages");
    let entries = fs::read_dir(directory.path()).expect("pages").flatten();
    let page = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("a page");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(page).collect()
}

#[test]
fn every_command_and_the_configuration_have_a_page() {
    let pages = pages();
    let wanted = ["kcov-broker.1", "kcov-broker-serve.1", "kcov-broker-tenant-add.1", "kcov-broker.toml.5"];
    for name in wanted.into_iter().chain(["kcov-handler.7"]) {
        assert!(pages.iter().any(|(page, _)| page == name), "{name}");
    }
    assert!(pages.iter().all(|(name, _)| !name.contains("bench-client")), "hidden commands have no page");
    for (name, text) in &pages {
        assert_eq!(text.matches("\n.TH ").count() + usize::from(text.starts_with(".TH ")), 1, "{name}");
    }
}

#[test]
fn every_reference_leads_to_a_page() {
    let pages = pages();
    let is_page = |name: &str| pages.iter().any(|(page, _)| page == name);
    for (of, text) in &pages {
        let plain = text.replace("\\-", "-");
        let words = plain.split(|c: char| c.is_whitespace() || ",;:.".contains(c) && c != '.');
        for word in words.filter(|word| word.starts_with("kcov-") && word.contains('(')) {
            let (name, section) = word.split_once('(').expect("a reference");
            let name = format!("{name}.{}", &section[..1]);
            assert!(is_page(&name), "{of} refers to {name}");
        }
    }
}

#[test]
fn the_page_of_serve_has_all_sections() {
    let page = page(crate::cli::Cli::command(), Some("serve")).expect("a page");
    let page = String::from_utf8(page).expect("text");
    for title in ["SIGNALS", "FILES", "EXIT STATUS", "SEE ALSO"] {
        assert!(
            page.contains(&format!(".SH {title}\n")) || page.contains(&format!(".SH \"{title}\"\n")),
            "{title}"
        );
    }
}

#[test]
fn the_example_is_a_valid_configuration() {
    let source = Source { name: "example".into(), directory: "/".into() };
    assert!(Config::parse(configuration::EXAMPLE, &source).is_ok());
}

/// The page repeats the compiler flags of the pkg-config file.
#[test]
fn compiler_flags_agree_with_pkg_config() {
    let page = page(crate::cli::Cli::command(), Some("kcov-handler")).expect("a page");
    let page = String::from_utf8(page).expect("text").replace("\\-", "-");
    let file = include_str!("../../../../worker/kcov-handler.pc.in").lines();
    let flags: Vec<_> = file.filter_map(|line| line.split_once("_coverage=")).collect();
    assert_eq!(flags.len(), 2, "gcc and clang");
    for (compiler, flags) in flags {
        assert!(page.contains(flags), "{compiler}: {flags}");
    }
}

#[test]
fn the_handler_in_c_compiles() {
    let folder = tempfile::tempdir().expect("a directory");
    let source = folder.path().join("door.c");
    fs::write(&source, handler::IN_C).expect("a source");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/include");
    let mut cc = std::process::Command::new("cc");
    cc.args(["-fsyntax-only", "-Wall", "-Werror", "-I"]).arg(include).arg(source);
    assert!(cc.status().expect("a compiler").success());
}
