//! Columns without borders.
//!
//! Called by the other files of this room; numbers stand to the right, names to the left.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

use super::Style;
use crate::model::printable;

/// A column's title and whether its cells are numbers.
pub(super) type Column = (&'static str, bool);

/// The same, with a title that is not known before.
type Titled<'t> = (&'t str, bool);

/// A name column.
pub(super) const fn name(title: &'static str) -> Column {
    (title, false)
}

/// A number column.
pub(super) const fn number(title: &'static str) -> Column {
    (title, true)
}

/// As [`draw`], without those of the `optional` columns in which no row has anything.
pub(super) fn draw_used(columns: &[Column], rows: Vec<Vec<String>>, optional: &[&str], style: Style) -> String {
    let is_used = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty()));
    let kept: Vec<bool> =
        columns.iter().enumerate().map(|(at, (title, _))| !optional.contains(title) || is_used(at)).collect();
    let columns: Vec<Column> =
        columns.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(column, _)| *column).collect();
    let keep = |row: Vec<String>| row.into_iter().zip(&kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell).collect();
    draw(&columns, rows.into_iter().map(keep).collect(), style)
}

/// Draws rows of whatever has titles of its own; numbers are told by their looks.
pub fn rows(titles: &[String], rows: Vec<Vec<String>>, style: Style) -> String {
    let is_number = |at: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(at)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let columns: Vec<(String, bool)> =
        titles.iter().enumerate().map(|(at, title)| (printable(title), is_number(at))).collect();
    let columns: Vec<Titled<'_>> = columns.iter().map(|(title, is_number)| (title.as_str(), *is_number)).collect();
    let rows = rows.iter().map(|row| row.iter().map(printable).collect()).collect();
    draw(&columns, rows, style)
}

/// Draws the rows under their titles, each line indented by one blank.
pub(super) fn draw(columns: &[Titled<'_>], rows: Vec<Vec<String>>, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let cell = |(text, (_, is_number)): (String, &Titled<'_>)| {
        Cell::new(text).set_alignment(if *is_number { CellAlignment::Right } else { CellAlignment::Left })
    };
    let titles = columns.iter().map(|column| (column.0.to_owned(), column)).map(cell);
    table.set_header(titles.map(|title| title.add_attribute(Attribute::Bold)).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().zip(columns).map(cell).collect::<Vec<_>>());
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}
