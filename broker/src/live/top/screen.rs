//! Drawing of `top`, for a terminal of any size.

use super::table::{COLUMNS, KEYS, Row, Table};
use crate::live::{figures, status};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{self, Bar, BarChart, BarGroup, Block, Cell, Paragraph, TableState};

/// Columns that hold words and not numbers.
const WORDS: usize = 3;
/// Lines of the detail pane: as many as `status NAME` prints, and its border.
const DETAIL: u16 = 20;
/// Characters of a bar's label.
const LABEL: usize = 7;

/// Draws it all.
pub fn draw(frame: &mut Frame<'_>, table: &Table) {
    let notes = table.notes.len().min(3) as u16;
    let detail = if table.detail { DETAIL } else { 0 };
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Max(detail),
        Constraint::Length(notes),
        Constraint::Length(1),
    ]);
    let [head, list, pane, foot, keys] = parts.areas(frame.area());
    frame.render_widget(summary(table), head);
    draw_list(frame, table, list);
    if let Some(row) = table.selected().and_then(|line| table.rows.get(line)).filter(|_| table.detail) {
        draw_detail(frame, row, pane);
    }
    let notes: Vec<_> = table.notes.iter().map(|note| Line::from(note.as_str())).collect();
    frame.render_widget(Text::from(notes).style(Style::new().fg(Color::Yellow)), foot);
    frame.render_widget(Line::from(KEYS).style(Style::new().add_modifier(Modifier::DIM)), keys);
}

fn summary(table: &Table) -> Line<'static> {
    let calls: f64 = table.rows.iter().map(|row| row.rates.calls).sum();
    let areas = table.rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.tenant.counts.arena_bytes));
    let order = if table.reversed { ", reversed" } else { "" };
    let paused = if table.paused { "  PAUSED" } else { "" };
    Line::from(format!(
        "kcov-broker top: {} tenants, {} calls/s, areas {}  by {}{order}{paused}",
        table.rows.len(),
        figures::rate(calls),
        figures::bytes(areas),
        COLUMNS[table.sort].title
    ))
}

fn aligned(column: usize) -> Alignment {
    if column < WORDS { Alignment::Left } else { Alignment::Right }
}

fn draw_list(frame: &mut Frame<'_>, table: &Table, area: Rect) {
    let cell = |column: usize, text: String| Cell::from(Line::from(text).alignment(aligned(column)));
    let head = COLUMNS.iter().enumerate().map(|(column, found)| {
        let style =
            if column == table.sort { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        cell(column, found.title.to_owned()).style(style)
    });
    let line = |row: &Row| {
        let cells = COLUMNS.iter().enumerate().map(|(column, found)| cell(column, (found.cell)(row)));
        widgets::Row::new(cells.collect::<Vec<_>>())
    };
    let widths = COLUMNS.iter().map(|column| Constraint::Length(column.width));
    let list = widgets::Table::new(table.rows.iter().map(line), widths)
        .header(widgets::Row::new(head.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(table.selected());
    frame.render_stateful_widget(list, area, &mut state);
}

/// What `status NAME` prints, beside the histogram.
fn draw_detail(frame: &mut Frame<'_>, row: &Row, area: Rect) {
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(area);
    let title = format!(" {} ", row.tenant.name);
    frame.render_widget(
        Paragraph::new(status::detail(&row.tenant)).block(Block::bordered().title(title)),
        left,
    );
    let bars: Vec<_> = row
        .tenant
        .tally
        .latency
        .filled()
        .map(|(below, count)| {
            let label = below.map_or("more".to_owned(), |below| figures::time(Some(below)));
            Bar::default().value(count).text_value(figures::count(count)).label(format!("{label:>LABEL$}"))
        })
        .collect();
    let chart = BarChart::default()
        .block(Block::bordered().title(" notifications by time, below "))
        .direction(ratatui::layout::Direction::Horizontal)
        .bar_width(1)
        .bar_gap(0)
        .bar_style(Style::new().fg(Color::Cyan))
        .value_style(Style::new().fg(Color::Black).bg(Color::Cyan))
        .data(BarGroup::default().bars(&bars));
    frame.render_widget(chart, right);
}
