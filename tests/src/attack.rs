//! The attacks of `tests/attacks`: what the header of each file states, and the table that SECURITY.md has of
//! them.
//!
//! A header has these paragraphs, each with its tag: `Attacker`, `Tries`, `Wins` (what the attacker would gain),
//! `Must` (what must happen). Handlers in C also have `Outcome`, for the program that runs them, and may have
//! `Options` of their run.

use crate::binaries::workspace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The tags that every attack has, which are also the columns of the table.
const TAGS: [&str; 4] = ["Attacker", "Tries", "Wins", "Must"];
/// Tags of attacks that are handlers.
const MORE: [&str; 2] = ["Outcome", "Options"];

/// One attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Name of its file, without the suffix.
    pub name: String,
    /// Whether it is a handler in C; otherwise a module of `tests/tests/attacks.rs`.
    pub is_handler: bool,
    paragraphs: BTreeMap<&'static str, String>,
}

impl Attack {
    /// All attacks, by name.
    ///
    /// # Errors
    /// When a file has no complete header.
    pub fn all() -> Result<Vec<Self>> {
        let entries = fs::read_dir(workspace().join("tests/attacks"))?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let sources =
            paths.iter().filter(|path| path.extension().is_some_and(|end| end == "c" || end == "rs"));
        let mut all = sources.map(Self::of).collect::<Result<Vec<_>>>()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn of(path: &PathBuf) -> Result<Self> {
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?.to_owned();
        let is_handler = path.extension().is_some_and(|end| end == "c");
        let text = fs::read_to_string(path)?;
        let prefix = if is_handler { " * " } else { "//! " };
        let mut paragraphs: BTreeMap<&'static str, String> = BTreeMap::new();
        let mut tag = None;
        for line in text.lines().filter_map(|line| line.strip_prefix(prefix)) {
            let start = TAGS
                .into_iter()
                .chain(MORE)
                .find_map(|tag| Some((tag, line.strip_prefix(tag)?.strip_prefix(": ")?)));
            match (start, tag) {
                (Some((next, rest)), _) => {
                    tag = Some(next);
                    paragraphs.insert(next, rest.trim().to_owned());
                }
                (None, Some(tag)) => {
                    let paragraph = paragraphs.entry(tag).or_default();
                    *paragraph = format!("{paragraph} {}", line.trim());
                }
                (None, None) => {}
            }
        }
        let needed = TAGS.iter().chain(is_handler.then_some(&MORE[0]));
        for tag in needed {
            ensure!(paragraphs.contains_key(tag), "{} has no `{tag}:`", path.display());
        }
        Ok(Attack { name, is_handler, paragraphs })
    }

    /// A paragraph of the header; empty if it has none with this tag.
    #[must_use]
    pub fn paragraph(&self, tag: &str) -> &str {
        self.paragraphs.get(tag).map_or("", String::as_str)
    }

    /// The table of all attacks, in Markdown.
    ///
    /// # Errors
    /// As [`Attack::all`].
    pub fn table() -> Result<String> {
        let mut table =
            "| attack | attacker | tries | would win | must happen |\n|---|---|---|---|---|\n".to_owned();
        for attack in Self::all()? {
            let cells: Vec<_> = TAGS.iter().map(|tag| attack.paragraph(tag)).collect();
            table += &format!("| `{}` | {} |\n", attack.name, cells.join(" | "));
        }
        Ok(table)
    }
}
