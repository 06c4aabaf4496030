//! `kcov-broker top`: the tenants of this machine, again and again, on a terminal.
//!
//! | module | holds |
//! |---|---|
//! | [`rates`] | what changed between two looks |
//! | [`table`] | what is shown, and what keys do to it: no terminal, no clock |
//! | [`screen`] | drawing it |

pub mod rates;
pub mod screen;
pub mod table;

use super::selection::Selection;
use crate::launch::parse;
use anyhow::{Context, Result};
use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use table::{Flow, Table};

/// Longest wait for a key: a signal to end is seen within it.
const GLANCE: Duration = Duration::from_millis(200);
/// Shortest: the library does not look for keys at all if it is given no time.
const BLINK: Duration = Duration::from_millis(10);

/// Watch the tenants of this machine
#[derive(Debug, clap::Args)]
#[command(after_help = table::KEYS)]
pub struct TopArgs {
    #[command(flatten)]
    selection: Selection,

    /// How often to look, in seconds or with a unit (500ms, 2s)
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse::time)]
    every: Duration,
}

/// Shows the tenants until the user has seen enough.
///
/// # Errors
/// If there is no terminal, or no way to look.
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    anyhow::ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "top needs a terminal for input and output: use `kcov-broker status` without one"
    );
    // Before the screen changes: what is wrong can be said.
    let mut table = Table::default();
    table.update(args.selection.find()?);
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    let terminal = ratatui::try_init().context("cannot use the terminal")?;
    let result = watch(terminal, &mut table, args, &ended);
    ratatui::restore();
    result.map(|()| ExitCode::SUCCESS)
}

fn watch(mut terminal: DefaultTerminal, table: &mut Table, args: &TopArgs, ended: &AtomicBool) -> Result<()> {
    let mut selection = args.selection.clone();
    let mut due = Instant::now() + args.every;
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| screen::draw(frame, table))?;
        let left = due.saturating_duration_since(Instant::now()).clamp(BLINK, GLANCE);
        if event::poll(left)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            match table.press(key) {
                Flow::Go => {}
                Flow::ToggleUsers => {
                    selection.all = !selection.all;
                    due = Instant::now();
                }
                Flow::Quit => return Ok(()),
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + args.every;
            if !table.paused {
                // Tenants that were named may end meanwhile.
                table.update(selection.find_any()?);
            }
        }
    }
    Ok(())
}
