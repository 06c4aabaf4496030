//! The manual pages. Those of commands are generated from the command line, that of the configuration from
//! the table of its keys. The page on handlers is written by hand.

mod configuration;
mod handler;
mod sections;

use anyhow::{Context, bail};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Name of the page of the configuration.
const CONFIGURATION: &str = "kcov-broker.toml";
/// Name of the page on handlers.
const HANDLER: &str = "kcov-handler";

/// Renders the page `name`: a command of `program`, the configuration, or handlers; `None` for `program`
/// itself.
///
/// # Errors
/// If there is no such page.
pub fn page(program: Command, name: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let program = built(program);
    let mut text = Vec::new();
    match name {
        None => render(&program, &mut text)?,
        Some(CONFIGURATION) => configuration::page(&program).to_writer(&mut text)?,
        Some(HANDLER) => handler::page(&program).to_writer(&mut text)?,
        Some(name) => match program.find_subcommand(name) {
            Some(found) => render(found, &mut text)?,
            None => bail!(
                "there is no page {name:?}: use a command (see kcov-broker --help), {CONFIGURATION} or {HANDLER}"
            ),
        },
    }
    Ok(text)
}

/// Writes all pages to `directory`, with the file names that man(1) expects.
///
/// # Errors
/// If one cannot be written.
pub fn write(program: Command, directory: &Path) -> anyhow::Result<()> {
    let program = built(program);
    let mut pages = vec![
        (format!("{CONFIGURATION}.5"), configuration::page(&program).to_roff().into_bytes()),
        (format!("{HANDLER}.7"), handler::page(&program).to_roff().into_bytes()),
    ];
    collect(&program, &mut pages)?;
    for (name, text) in pages {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Completes the definitions of all commands, with their full names.
fn built(program: Command) -> Command {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    program
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        collect(below, pages)?;
    }
    let mut text = Vec::new();
    render(command, &mut text)?;
    pages.push((Man::new(command.clone()).get_filename(), text));
    Ok(())
}

fn render(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(out)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(out)?;
    }
    let own = sections::of(command.get_display_name().unwrap_or_else(|| command.get_name()));
    if own.is_empty() && (command.get_after_long_help().is_some() || command.get_after_help().is_some()) {
        man.render_extra_section(out)?;
    }
    let mut roff = Roff::new();
    for (title, entries) in own {
        roff.control("SH", [*title]);
        entries.iter().for_each(|(term, text)| entry(&mut roff, &[bold(*term)], text));
    }
    // The sections before have written the preamble of the document already.
    out.write_all(roff.to_roff().as_bytes())?;
    man.render_version_section(out)
}

/// Adds a term and its description.
fn entry(roff: &mut Roff, term: &[Inline], text: &str) {
    roff.control("TP", []);
    roff.text(term.to_vec());
    roff.text([roman(text)]);
}

/// Adds lines without filling them.
fn example(roff: &mut Roff, lines: &str) {
    roff.control("PP", []);
    roff.control("nf", []);
    roff.control("RS", ["4"]);
    lines.lines().for_each(|line| _ = roff.text([roman(line)]));
    roff.control("RE", []);
    roff.control("fi", []);
    roff.control("PP", []);
}

#[cfg(test)]
mod tests;
