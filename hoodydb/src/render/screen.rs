//! The live screen of `hoodydb top`: cells out, no terminal.
//!
//! Called by [`crate::cli`] with what it remembers ([`Watch`]) and what the user chose ([`Ui`]). It fits any size: columns that
//! have no room are left out, the least telling ones first.

mod columns;
mod detail;
mod hints;
mod ui;

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Widget, Wrap};

use super::top::{headline, notes};
use crate::model::{DatabaseTop, MountTop, Watch, printable};

pub use ui::{Key, Sort, Ui};

/// One frame.
pub struct Screen<'a> {
    /// What is known.
    pub watch: &'a Watch,
    /// What the user chose.
    pub ui: &'a Ui,
    /// Why the figures are old, if they are.
    pub trouble: Option<&'a str>,
    /// Whether colours are wanted.
    pub colour: bool,
}

/// A database on its mount.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    mount: &'a MountTop,
    database: &'a DatabaseTop,
    /// Several mounts are shown: a path alone would not tell which.
    is_one_of_many: bool,
}

impl Row<'_> {
    fn name(&self) -> String {
        let path = printable(&self.database.path);
        if self.is_one_of_many { format!("{}/{path}", printable(&self.mount.mountpoint)) } else { path }
    }

    fn key(&self) -> (String, u64) {
        (self.mount.mountpoint.clone(), self.database.inode)
    }
}

/// The rows that are wanted, in the order that is wanted.
pub(crate) fn rows<'a>(watch: &'a Watch, ui: &Ui) -> Vec<Row<'a>> {
    let mounts = &watch.top().mounts;
    let all = mounts.iter().flat_map(|mount| {
        mount.databases.iter().map(move |database| Row { mount, database, is_one_of_many: mounts.len() > 1 })
    });
    let mut rows: Vec<Row> = all.filter(|row| ui.wants(&row.name())).collect();
    ui.sort(&mut rows);
    rows
}

impl Screen<'_> {
    fn emphasis(&self, colour: Color) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { bold.fg(colour) } else { bold }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut lines: Vec<Line> = Vec::new();
        for mount in &self.watch.top().mounts {
            let title = format!("{}  {}", printable(&mount.mountpoint), headline(mount));
            lines.push(Line::styled(title, bold));
            lines.extend(
                notes(mount).into_iter().map(|note| Line::styled(note, Style::new().add_modifier(Modifier::DIM))),
            );
        }
        let mut chosen = format!("sorted by {}", self.ui.sort_name());
        if let Some(filter) = self.ui.shown_filter() {
            chosen.push_str(&format!("  filter: {}", printable(filter)));
        }
        if self.ui.is_paused() {
            chosen.push_str("  paused");
        }
        lines.push(Line::raw(chosen));
        if let Some(trouble) = self.trouble {
            lines.push(Line::styled(printable(trouble), self.emphasis(Color::Red)));
        }
        lines
    }

    fn draw_list(&self, area: Rect, buffer: &mut Buffer) {
        let rows = rows(self.watch, self.ui);
        if rows.is_empty() {
            Paragraph::new("no database is in use").render(area, buffer);
            return;
        }
        let columns = columns::that_fit(area.width);
        let selected = self.ui.selected_at(&rows);
        let height = usize::from(area.height.saturating_sub(1)).max(1);
        // Only what is seen is drawn: there may be thousands.
        let first = selected.saturating_sub(height - 1);
        let shown = rows.iter().enumerate().skip(first).take(height).map(|(at, row)| {
            let cells = columns.iter().map(|column| {
                let trail = || self.watch.trail(&row.mount.mountpoint, row.database.inode);
                let text = Text::from(column.cell(row, &trail));
                Cell::from(if column.is_number { text.alignment(Alignment::Right) } else { text })
            });
            let style = self.row_style(row.database);
            TableRow::new(cells).style(if at == selected { style.add_modifier(Modifier::REVERSED) } else { style })
        });
        let titles = columns.iter().map(|column| {
            let title = Text::from(column.title);
            Cell::from(if column.is_number { title.alignment(Alignment::Right) } else { title })
        });
        let widths = columns.iter().map(|column| match column.is_wide {
            true => Constraint::Fill(1),
            false => Constraint::Length(column.width),
        });
        let header = TableRow::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
        Table::new(shown, widths).header(header).column_spacing(1).render(area, buffer);
    }

    /// What needs a look stands out.
    fn row_style(&self, database: &DatabaseTop) -> Style {
        let plain = Style::new();
        match database {
            _ if !self.colour => plain,
            database if database.refusals_per_s > 0.0 => plain.fg(Color::Red),
            database if database.waiters_total > 0 => plain.fg(Color::Yellow),
            _ => plain,
        }
    }

    fn draw_text(&self, lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
        let text = Paragraph::new(lines).wrap(Wrap { trim: false });
        text.scroll((self.ui.scrolled(), 0)).render(area, buffer);
    }
}

impl Widget for Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let head = self.head();
        let head_height = u16::try_from(head.len()).unwrap_or(u16::MAX).min(area.height / 2);
        let [top, rest] = split(area, head_height);
        Paragraph::new(head).render(top, buffer);
        let [body, foot] = split(rest, rest.height.saturating_sub(1));
        Paragraph::new(self.ui.keys()).style(Style::new().add_modifier(Modifier::DIM)).render(foot, buffer);
        if self.ui.is_help() {
            self.draw_text(ui::HELP.lines().map(Line::raw).collect(), body, buffer);
        } else if let Some(key) = self.ui.opened() {
            self.draw_text(detail::lines(self.watch, key, self.emphasis(Color::Cyan)), body, buffer);
        } else {
            self.draw_list(body, buffer);
        }
    }
}

/// The upper lines and the rest.
fn split(area: Rect, upper: u16) -> [Rect; 2] {
    let upper = upper.min(area.height);
    [Rect { height: upper, ..area }, Rect { y: area.y + upper, height: area.height - upper, ..area }]
}

#[cfg(test)]
mod tests;
