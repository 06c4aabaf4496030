//! `kcov-broker top`: watches the tenants of this machine on a terminal.
//!
//! | module | purpose |
//! |---|---|
//! | [`rates`] | changes per second between two samples |
//! | [`table`] | the state of the display and the effect of keys, without terminal and clock |
//! | [`screen`] | drawing |

pub mod rates;
pub mod screen;
pub mod table;

use crate::launch::parse;
use crate::live::selection::Selection;
use anyhow::{Context, Result};
use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use table::{Action, Table};

/// Maximum wait for a key, and so the maximum delay until a signal is noticed.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// Minimum wait: with a timeout of zero crossterm does not check for keys.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// Watch the tenants of this machine
#[derive(Debug, clap::Args)]
#[command(after_help = table::KEYS)]
pub struct TopArgs {
    #[command(flatten)]
    selection: Selection,

    /// Time between updates, in seconds or with a unit (500ms, 2s)
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse::time)]
    every: Duration,
}

/// Shows the tenants until the user quits.
///
/// # Errors
/// If there is no terminal, or if the segments cannot be listed.
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    anyhow::ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "top needs a terminal as standard input and output: use `kcov-broker status` instead"
    );
    // Before the terminal changes mode, so that errors are readable.
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
        let left = due.saturating_duration_since(Instant::now()).clamp(MIN_WAIT, MAX_WAIT);
        if event::poll(left)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            match table.press(key) {
                Action::None => {}
                Action::ToggleUsers => {
                    selection.all = !selection.all;
                    due = Instant::now();
                }
                Action::Quit => return Ok(()),
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + args.every;
            if !table.paused {
                // Tenants that were given by name may have ended.
                table.update(selection.find_any()?);
            }
        }
    }
    Ok(())
}
