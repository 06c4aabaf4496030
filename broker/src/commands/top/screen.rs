//! Draws `top` on a terminal of any size.

use super::table::{COLUMNS, Column, KEYS, Row, Table};
use crate::commands::status;
use crate::live::figures;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{self, Bar, BarChart, BarGroup, Block, Cell, Paragraph, TableState};

/// Number of columns with text; the others hold numbers.
const WORDS: usize = 3;
/// Height of the detail pane: the lines of `status NAME` and the border.
const DETAIL: u16 = 20;
/// Width of a bar's label, in characters.
const LABEL: usize = 7;

/// Draws the whole screen.
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

/// The columns, from the left, that fit into this width.
fn fitting(width: u16) -> &'static [Column] {
    let mut used = 0;
    let fits = |column: &&Column| {
        // One blank between two columns.
        used += column.width + 1;
        used <= width + 1
    };
    &COLUMNS[..COLUMNS.iter().take_while(fits).count().max(1)]
}

fn draw_list(frame: &mut Frame<'_>, table: &Table, area: Rect) {
    let columns = fitting(area.width);
    let cell = |column: usize, text: String| Cell::from(Line::from(text).alignment(aligned(column)));
    let head = columns.iter().enumerate().map(|(column, found)| {
        let style = if column == table.sort { Modifier::REVERSED } else { Modifier::empty() };
        cell(column, found.title.to_owned()).style(Style::new().add_modifier(style))
    });
    let line = |row: &Row| {
        let cells = columns.iter().enumerate().map(|(column, found)| cell(column, (found.cell)(row)));
        widgets::Row::new(cells.collect::<Vec<_>>())
    };
    let widths = columns.iter().map(|column| Constraint::Length(column.width));
    let list = widgets::Table::new(table.rows.iter().map(line), widths)
        .header(widgets::Row::new(head.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(table.selected());
    frame.render_stateful_widget(list, area, &mut state);
}

/// Draws the output of `status NAME` next to a histogram.
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
        .block(Block::bordered().title(" notifications by latency, below "))
        .direction(ratatui::layout::Direction::Horizontal)
        .bar_width(1)
        .bar_gap(0)
        .bar_style(Style::new().fg(Color::Cyan))
        .value_style(Style::new().fg(Color::Black).bg(Color::Cyan))
        .data(BarGroup::default().bars(&bars));
    frame.render_widget(chart, right);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::selection::Selected;
    use crate::live::tenant_view::{State, TenantView};
    use crossterm::event::{KeyCode, KeyEvent};
    use kcov_proto::view::{Identity, Name, View};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn tenant(name: &str, calls: u64) -> TenantView {
        let mut view = View {
            identity: Identity { pid: 7, ..Identity::default() },
            name: Name::like(name),
            started: 0,
            beat: 2_000_000_000,
            pids: Default::default(),
            counts: Default::default(),
            tally: Default::default(),
            refusals: Default::default(),
            user: Some(0),
            sections: Default::default(),
        };
        view.tally.notifications = calls;
        view.tally.latency.0[5] = calls;
        TenantView::new(&format!("kcov-broker.0.{name}"), 0, State::Live, view.beat, view)
    }

    fn table(tenants: &[(&str, u64)]) -> Table {
        let mut table = Table::default();
        let tenants = tenants.iter().map(|(name, calls)| tenant(name, *calls)).collect();
        table.update(Selected { tenants, notes: vec!["a note".to_owned()], ..Selected::default() });
        table
    }

    fn lines(table: &Table, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("an in-memory backend");
        terminal.draw(|frame| draw(frame, table)).expect("drawn");
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn tenants_are_sorted_by_calls_per_second() {
        let mut table = table(&[("idle", 0), ("busy", 900), ("some", 20)]);
        let names = |table: &Table| {
            let names = lines(table, 130, 8).into_iter().skip(2).take(3);
            names.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&table), ["busy", "some", "idle"]);
        table.press(KeyEvent::from(KeyCode::Char('r')));
        assert_eq!(names(&table), ["idle", "some", "busy"]);
        assert!(lines(&table, 130, 8)[0].contains("3 tenants, 460 calls/s"), "{:?}", lines(&table, 130, 8));
    }

    /// A broker that is stopped writes no more: its last rates are not those of now.
    #[test]
    fn silent_tenants_have_no_rates() {
        let mut table = table(&[("one", 60), ("two", 40)]);
        assert!(lines(&table, 130, 8)[0].contains("50.0 calls/s"), "{:?}", lines(&table, 130, 8));
        let silent = TenantView { state: State::Silent, ..tenant("one", 60) };
        table.update(Selected { tenants: vec![silent, tenant("two", 40)], ..Selected::default() });
        assert!(lines(&table, 130, 8)[0].contains("2 tenants, 20.0 calls/s"), "{:?}", lines(&table, 130, 8));
    }

    #[test]
    fn the_selection_follows_the_tenant() {
        let mut table = table(&[("a", 3), ("b", 2), ("c", 1)]);
        table.press(KeyEvent::from(KeyCode::Down));
        table.press(KeyEvent::from(KeyCode::Char('r')));
        table.press(KeyEvent::from(KeyCode::Home));
        table.press(KeyEvent::from(KeyCode::Char('r')));
        assert_eq!(table.selected(), Some(2));
        table.update(Selected::default());
        assert_eq!(table.selected(), None);
        for key in [KeyCode::Down, KeyCode::Up, KeyCode::End, KeyCode::Enter, KeyCode::Char('s')] {
            table.press(KeyEvent::from(key));
        }
    }

    /// Only whole columns are shown, and no size fails.
    #[test]
    fn a_screen_of_any_size_is_drawn() {
        let mut table = table(&[("one", 5), ("two", 7)]);
        let narrow = &lines(&table, 63, 8)[1];
        assert!(narrow.starts_with("NAME") && narrow.ends_with("CALLS/S"), "{narrow}");
        for detail in [false, true] {
            table.detail = detail;
            for (width, height) in [(1, 1), (2, 3), (20, 4), (60, 8), (80, 24), (300, 100)] {
                lines(&table, width, height);
            }
        }
        assert!(lines(&table, 140, 40).iter().any(|line| line.contains("notifications by latency, below")));
    }
}
