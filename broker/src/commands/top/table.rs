//! The state of `top`: the tenants, their order and the selected one.

use super::rates::Rates;
use crate::live::figures;
use crate::live::selection::Selected;
use crate::live::tenant_view::{State, TenantView};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::cmp::Ordering;

/// Help text for the keys.
pub const KEYS: &str = "Keys: q quit, up and down select, Enter details, s and S sort by the next or previous \
                        column, r reverse, p pause, a all users";

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The tenant.
    pub tenant: TenantView,
    /// Recent changes.
    pub rates: Rates,
}

/// A column of the table.
pub struct Column {
    /// Title in the header.
    pub title: &'static str,
    /// Width in characters.
    pub width: u16,
    /// Formats the cell of a row.
    pub cell: fn(&Row) -> String,
    order: fn(&Row, &Row) -> Ordering,
    /// Whether the largest value comes first.
    descending: bool,
}

const fn words(
    title: &'static str,
    width: u16,
    cell: fn(&Row) -> String,
    order: fn(&Row, &Row) -> Ordering,
) -> Column {
    Column { title, width, cell, order, descending: false }
}

const fn number(
    title: &'static str,
    width: u16,
    cell: fn(&Row) -> String,
    order: fn(&Row, &Row) -> Ordering,
) -> Column {
    Column { title, width, cell, order, descending: true }
}

/// Index of the column that the table is sorted by at first: `CALLS/S`.
const FIRST: usize = 5;

/// The columns, from left to right.
pub const COLUMNS: [Column; 14] = [
    words("NAME", 20, |r| r.tenant.name.to_string(), |a, b| a.tenant.name.cmp(&b.tenant.name)),
    words("USER", 11, |r| r.tenant.runs_as().to_owned(), |a, b| a.tenant.runs_as().cmp(b.tenant.runs_as())),
    words("STATE", 6, |r| r.tenant.state.name().to_owned(), |a, b| a.tenant.state.cmp(&b.tenant.state)),
    number("PID", 7, |r| r.tenant.pid.to_string(), |a, b| a.tenant.pid.cmp(&b.tenant.pid)),
    number(
        "UP",
        7,
        |r| figures::duration(r.tenant.uptime_seconds),
        |a, b| a.tenant.uptime_seconds.total_cmp(&b.tenant.uptime_seconds),
    ),
    number("CALLS/S", 7, |r| figures::rate(r.rates.calls), |a, b| a.rates.calls.total_cmp(&b.rates.calls)),
    number(
        "CALLS",
        6,
        |r| figures::count(r.tenant.tally.notifications),
        |a, b| a.tenant.tally.notifications.cmp(&b.tenant.tally.notifications),
    ),
    number(
        "P99",
        6,
        |r| figures::time(r.rates.latency.quantile(0.99)),
        |a, b| a.rates.latency.quantile(0.99).cmp(&b.rates.latency.quantile(0.99)),
    ),
    number(
        "REC/S",
        6,
        |r| figures::rate(r.rates.records),
        |a, b| a.rates.records.total_cmp(&b.rates.records),
    ),
    number(
        "LOST",
        6,
        |r| figures::count(r.tenant.tally.records_lost),
        |a, b| a.tenant.tally.records_lost.cmp(&b.tenant.tally.records_lost),
    ),
    number(
        "INST",
        5,
        |r| figures::count(r.tenant.counts.instances),
        |a, b| a.tenant.counts.instances.cmp(&b.tenant.counts.instances),
    ),
    number(
        "AREAS",
        6,
        |r| figures::bytes(r.tenant.counts.arena_bytes),
        |a, b| a.tenant.counts.arena_bytes.cmp(&b.tenant.counts.arena_bytes),
    ),
    number(
        "CRASH",
        5,
        |r| figures::count(r.tenant.counts.worker_crashes),
        |a, b| a.tenant.counts.worker_crashes.cmp(&b.tenant.counts.worker_crashes),
    ),
    number(
        "REFUSED",
        7,
        |r| figures::count(r.tenant.counts.quota_refusals),
        |a, b| a.tenant.counts.quota_refusals.cmp(&b.tenant.counts.quota_refusals),
    ),
];

/// What the caller must do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing but redraw.
    None,
    /// Show or hide the tenants of other users.
    ToggleUsers,
    /// End the program.
    Quit,
}

/// The state of the display.
#[derive(Clone, Debug)]
pub struct Table {
    /// The tenants, in the order of the screen.
    pub rows: Vec<Row>,
    /// Notes below the table.
    pub notes: Vec<String>,
    /// Index of the column that the table is sorted by.
    pub sort: usize,
    /// Whether the column's own order is reversed.
    pub reversed: bool,
    /// Whether updates are paused.
    pub paused: bool,
    /// Whether the details of the selected tenant are shown.
    pub detail: bool,
    /// Segment of the selected tenant: the selection follows it when rows move.
    selected: Option<String>,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            rows: Vec::new(),
            notes: Vec::new(),
            sort: FIRST,
            reversed: false,
            paused: false,
            detail: false,
            selected: None,
        }
    }
}

impl Table {
    /// Updates the table with a new sample.
    pub fn update(&mut self, Selected { tenants, notes, .. }: Selected) {
        let before = std::mem::take(&mut self.rows);
        let row = |tenant: TenantView| {
            let last = before.iter().find(|row| row.tenant.segment == tenant.segment);
            // The broker wrote nothing since the previous sample: keep the last rates.
            let rates = match last {
                _ if tenant.state != State::Live => Rates::default(),
                Some(row) if row.tenant.beat == tenant.beat => row.rates,
                last => Rates::between(last.map(|row| &row.tenant), &tenant),
            };
            Row { tenant, rates }
        };
        self.rows = tenants.into_iter().map(row).collect();
        self.notes = notes;
        self.arrange();
    }

    /// Index of the selected row.
    #[must_use]
    pub fn selected(&self) -> Option<usize> {
        let place = self.rows.iter().position(|row| Some(&row.tenant.segment) == self.selected.as_ref());
        place.or_else(|| (!self.rows.is_empty()).then_some(0))
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Action::Quit,
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Esc if !self.detail => return Action::Quit,
            KeyCode::Esc => self.detail = false,
            KeyCode::Char('a') => return Action::ToggleUsers,
            KeyCode::Enter => self.detail = !self.detail,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort_by((self.sort + 1) % COLUMNS.len()),
            KeyCode::Char('S') => self.sort_by((self.sort + COLUMNS.len() - 1) % COLUMNS.len()),
            KeyCode::Char('r') => {
                self.reversed = !self.reversed;
                self.arrange();
            }
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::PageDown => self.select(10),
            KeyCode::PageUp => self.select(-10),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            _ => {}
        }
        Action::None
    }

    fn sort_by(&mut self, column: usize) {
        self.sort = column;
        self.reversed = false;
        self.arrange();
    }

    /// Moves the selection down by `by` rows; up if negative.
    fn select(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let line = self.selected().unwrap_or_default().saturating_add_signed(by).min(last);
        self.selected = self.rows.get(line).map(|row| row.tenant.segment.clone());
    }

    fn arrange(&mut self) {
        let Column { order, descending, .. } = &COLUMNS[self.sort];
        let descending = *descending != self.reversed;
        self.rows.sort_by(|a, b| {
            let first = if descending { order(b, a) } else { order(a, b) };
            // A fixed order of equal rows, so that they do not jump.
            first
                .then_with(|| a.tenant.name.cmp(&b.tenant.name))
                .then_with(|| a.tenant.pid.cmp(&b.tenant.pid))
        });
    }
}
