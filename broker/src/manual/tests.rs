//! The pages say what the program does, and `man` can read them.

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
    for name in ["kcov-broker.1", "kcov-broker-serve.1", "kcov-broker-tenant-add.1", "kcov-broker.toml.5"] {
        assert!(pages.iter().any(|(page, _)| page == name), "{name}");
    }
    assert!(pages.iter().all(|(name, _)| !name.contains("bench-client")), "a hidden command has none");
    for (name, text) in &pages {
        assert_eq!(text.matches("\n.TH ").count() + usize::from(text.starts_with(".TH ")), 1, "{name}");
    }
}

#[test]
fn what_a_page_refers_to_is_there() {
    let pages = pages();
    let is_page = |name: &str| pages.iter().any(|(page, _)| page == name);
    for (of, text) in &pages {
        let plain = text.replace("\\-", "-");
        let words = plain.split(|c: char| c.is_whitespace() || ",;:.".contains(c) && c != '.');
        for word in words.filter(|word| word.starts_with("kcov-broker") && word.contains('(')) {
            let (name, section) = word.split_once('(').expect("a reference");
            let name = format!("{name}.{}", &section[..1]);
            assert!(is_page(&name), "{of} refers to {name}");
        }
    }
}

#[test]
fn every_part_of_the_service_is_told() {
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
fn the_example_is_a_configuration() {
    let source = Source { name: "example".into(), directory: "/".into() };
    assert!(Config::parse(configuration::EXAMPLE, &source).is_ok());
}
