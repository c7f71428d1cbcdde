//! The plots of the report, as SVG that follows the reader's light or dark colours. Called by [`crate::report`].

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::peers::Peer;
use crate::results::{GrowthPoint, Results};
use crate::text;
use crate::view;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A colour and what it becomes for readers in the dark.
type Ink = (RGBColor, &'static str);
const PAPER: Ink = (RGBColor(255, 255, 255), "#0D1117");
const TEXT: Ink = (RGBColor(31, 35, 40), "#E6EDF3");
const RULE: Ink = (RGBColor(209, 215, 222), "#30363D");
const OURS: Ink = (RGBColor(9, 105, 218), "#58A6FF");
const OURS_TOO: Ink = (RGBColor(130, 80, 223), "#BC8CFF");
const DISK: Ink = (RGBColor(110, 119, 129), "#8B949E");
const DISK_TOO: Ink = (RGBColor(154, 103, 0), "#D29922");
const POSTGRES: Ink = (RGBColor(188, 76, 0), "#F0883E");
const INKS: [Ink; 8] = [PAPER, TEXT, RULE, OURS, OURS_TOO, DISK, DISK_TOO, POSTGRES];

const WIDTH: u32 = 960;

/// A line in a panel, or a row of marks.
struct Series {
    name: String,
    ink: Ink,
    points: Vec<(f64, f64)>,
}

/// A logarithmic axis in pixels.
#[derive(Clone, Copy)]
struct Axis {
    min: f64,
    max: f64,
    from: i32,
    to: i32,
}

impl Axis {
    /// From the power of ten below the smallest value to the one above the largest.
    fn of_decades(values: impl IntoIterator<Item = f64>, from: i32, to: i32) -> Option<Self> {
        let logs: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).map(f64::log10).collect();
        let min = logs.iter().copied().reduce(f64::min)?.floor();
        let max = logs.iter().copied().reduce(f64::max)?.ceil();
        Some(Self { min: 10f64.powf(min), max: 10f64.powf(max.max(min + 1.0)), from, to })
    }

    fn at(self, value: f64) -> i32 {
        let part = (value.max(self.min) / self.min).ln() / (self.max / self.min).ln();
        self.from + (f64::from(self.to - self.from) * part).round() as i32
    }

    fn decades(self) -> impl Iterator<Item = f64> {
        let decades = (self.max / self.min).log10().round() as i32;
        (0..=decades).map(move |decade| self.min * 10f64.powi(decade))
    }
}

/// Latency of the cases with one process.
///
/// # Errors
/// If plotters fails.
pub fn latency(results: &Results, cases: &[&str], names: &[(Peer, &str)]) -> Result<Option<String>> {
    const ROW: i32 = 44;
    let figures = |case: &str, peer: Peer| {
        let found = view::find(results, case, 1, peer)?;
        Some((view::spread(&found.rounds, view::p50)?.median, view::spread(&found.rounds, view::p99)?.median))
    };
    let all = cases.iter().flat_map(|case| names.iter().filter_map(move |(peer, _)| figures(case, *peer)));
    let Some(axis) = Axis::of_decades(all.flat_map(|(p50, p99)| [p50, p99]), 170, WIDTH as i32 - 30) else {
        return Ok(None);
    };
    let height = 84 + ROW * cases.len() as i32 + 34;
    let draw = |area: &Area| -> Result<()> {
        title(area, 24, 12, "Latency of one process: from the median (dot) to p99 (bar)")?;
        let legend: Vec<(String, Ink)> = names.iter().map(|(peer, name)| ((*name).to_owned(), ink_of(*peer))).collect();
        draw_legend(area, 24, 44, &legend)?;
        let (top, bottom) = (76, 76 + ROW * cases.len() as i32);
        for decade in axis.decades() {
            line(area, &[(axis.at(decade), top), (axis.at(decade), bottom)], RULE, 1)?;
            write(area, (axis.at(decade), bottom + 8), &text::us(decade), HPos::Center)?;
        }
        for (row, case) in cases.iter().enumerate() {
            let middle = top + ROW * row as i32 + ROW / 2;
            write(area, (160, middle - 5), case, HPos::Right)?;
            for (index, (peer, _)) in names.iter().enumerate() {
                let Some((p50, p99)) = figures(case, *peer) else { continue };
                let y = middle + 11 * index as i32 - 11;
                line(area, &[(axis.at(p50), y), (axis.at(p99), y)], ink_of(*peer), 2)?;
                line(area, &[(axis.at(p99), y - 4), (axis.at(p99), y + 4)], ink_of(*peer), 2)?;
                dot(area, (axis.at(p50), y), ink_of(*peer))?;
            }
            line(area, &[(24, top + ROW * row as i32), (WIDTH as i32 - 30, top + ROW * row as i32)], RULE, 1)?;
        }
        Ok(())
    };
    svg(height as u32, draw).map(Some)
}

/// Throughput of each case against the number of processes.
///
/// # Errors
/// If plotters fails.
pub fn throughput(results: &Results, cases: &[&str], names: &[(Peer, &str)]) -> Result<Option<String>> {
    let panels: Vec<Panel> = cases
        .iter()
        .map(|case| Panel {
            title: (*case).to_owned(),
            series: names
                .iter()
                .map(|(peer, name)| Series {
                    name: (*name).to_owned(),
                    ink: ink_of(*peer),
                    points: results
                        .cases
                        .iter()
                        .filter(|one| one.case == *case && one.peer == *peer)
                        .filter_map(|one| {
                            let rate = view::spread(&one.rounds, view::per_second)?;
                            Some((f64::from(one.processes), rate.median))
                        })
                        .collect(),
                })
                .collect(),
            x: |x| text::grouped(x as u64),
            y: text::count,
        })
        .collect();
    draw_panels("Operations per second against processes", &panels)
}

/// Latency against databases, sizes and waiters.
///
/// # Errors
/// If plotters fails.
pub fn growth(results: &Results, disk: &str) -> Result<Option<String>> {
    let of = |points: &[GrowthPoint]| {
        let series = |name: String, ink, peer, figures: fn(&GrowthPoint) -> &[crate::results::Sample]| Series {
            name,
            ink,
            points: points
                .iter()
                .filter(|point| point.peer == peer)
                .filter_map(|point| Some((point.at as f64, view::spread(figures(point), view::p50)?.median)))
                .collect(),
        };
        vec![
            series("INSERT, mount".to_owned(), OURS_TOO, Peer::Mount, |point| &point.insert),
            series("SELECT, mount".to_owned(), OURS, Peer::Mount, |point| &point.select),
            series(format!("INSERT, {disk}"), DISK_TOO, Peer::Disk, |point| &point.insert),
            series(format!("SELECT, {disk}"), DISK, Peer::Disk, |point| &point.select),
        ]
    };
    let waiters = |name: &str, ink, figure: fn(&crate::results::WaitersPoint) -> f64| Series {
        name: name.to_owned(),
        ink,
        points: results.waiters.iter().map(|point| (point.waiters as f64, figure(point))).collect(),
    };
    let panels = [
        Panel {
            title: "databases open".to_owned(),
            series: of(&results.databases),
            x: |x| text::grouped(x as u64),
            y: text::us,
        },
        Panel {
            title: "size of the file".to_owned(),
            series: of(&results.sizes),
            x: |x| text::bytes(x as u64),
            y: text::us,
        },
        Panel {
            title: "processes in line: hand-over".to_owned(),
            series: vec![
                waiters("hand-over p99", POSTGRES, |point| point.p99_us),
                waiters("hand-over median", TEXT, |point| point.p50_us),
            ],
            x: |x| text::grouped(x as u64),
            y: text::us,
        },
    ];
    draw_panels("Latency as things grow", &panels)
}

struct Panel {
    title: String,
    series: Vec<Series>,
    x: fn(f64) -> String,
    y: fn(f64) -> String,
}

/// Small plots side by side, three to a row.
fn draw_panels(name: &str, panels: &[Panel]) -> Result<Option<String>> {
    const HEIGHT: i32 = 270;
    let shown: Vec<&Panel> =
        panels.iter().filter(|panel| panel.series.iter().any(|one| !one.points.is_empty())).collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let mut legend: Vec<(String, Ink)> = Vec::new();
    for series in shown.iter().flat_map(|panel| &panel.series).filter(|series| !series.points.is_empty()) {
        if legend.iter().all(|(name, _)| *name != series.name) {
            legend.push((series.name.clone(), series.ink));
        }
    }
    let rows = shown.len().div_ceil(3) as i32;
    svg((80 + rows * HEIGHT) as u32, |area| {
        title(area, 24, 12, name)?;
        draw_legend(area, 24, 44, &legend)?;
        let width = WIDTH as i32 / 3;
        for (index, panel) in shown.iter().enumerate() {
            let (column, row) = (index as i32 % 3, index as i32 / 3);
            draw_panel(area, panel, (column * width, 76 + row * HEIGHT), (width, HEIGHT))?;
        }
        Ok(())
    })
    .map(Some)
}

fn draw_panel(area: &Area, panel: &Panel, (left, top): (i32, i32), (width, height): (i32, i32)) -> Result<()> {
    let points = || panel.series.iter().flat_map(|series| series.points.iter().copied());
    let (from, to) = (left + 92, left + width - 24);
    let (bottom, ceiling) = (top + height - 36, top + 28);
    let Some(y) = Axis::of_decades(points().map(|(_, y)| y), bottom, ceiling) else { return Ok(()) };
    let mut steps: Vec<f64> = points().map(|(x, _)| x).collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    let (Some(min), Some(max)) = (steps.first().copied(), steps.last().copied()) else { return Ok(()) };
    // A single point stands at the left.
    let x = Axis { min, max: if max > min { max } else { min * 10.0 }, from, to };
    write(area, (left + 24, top), &panel.title, HPos::Left)?;
    for decade in y.decades() {
        line(area, &[(from - 6, y.at(decade)), (to, y.at(decade))], RULE, 1)?;
        write(area, (from - 10, y.at(decade) - 5), &(panel.y)(decade), HPos::Right)?;
    }
    let mut free_from = i32::MIN;
    for step in steps {
        // What has no room is left out.
        if x.at(step) >= free_from {
            write(area, (x.at(step), bottom + 8), &(panel.x)(step), HPos::Center)?;
            free_from = x.at(step) + 36;
        }
    }
    for series in &panel.series {
        let mut points: Vec<(i32, i32)> = series.points.iter().map(|(px, py)| (x.at(*px), y.at(*py))).collect();
        points.sort_unstable();
        line(area, &points, series.ink, 2)?;
        points.iter().try_for_each(|point| dot(area, *point, series.ink))?;
    }
    Ok(())
}

fn ink_of(peer: Peer) -> Ink {
    match peer {
        Peer::Mount => OURS,
        Peer::MountAtOnce => OURS_TOO,
        Peer::Disk => DISK,
        Peer::DiskAtOnce => DISK_TOO,
        Peer::Postgres => POSTGRES,
    }
}

fn svg(height: u32, draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&PAPER.0).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    let colours: String = INKS
        .iter()
        .map(|(light, dark)| {
            let light = format!("#{:02X}{:02X}{:02X}", light.0, light.1, light.2);
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media (prefers-color-scheme:dark){{{colours}}}</style>");
    let head = svg.find("<svg").and_then(|start| svg[start..].find('>').map(|end| start + end + 1));
    svg.insert_str(head.ok_or_else(|| anyhow!("plotters made no SVG"))?, &format!("\n{style}"));
    Ok(svg)
}

fn line(area: &Area, points: &[(i32, i32)], ink: Ink, width: u32) -> Result<()> {
    area.draw(&PathElement::new(points.to_vec(), ink.0.stroke_width(width))).map_err(failed)
}

fn dot(area: &Area, at: (i32, i32), ink: Ink) -> Result<()> {
    area.draw(&Circle::new(at, 4, ink.0.filled())).map_err(failed)
}

fn write(area: &Area, at: (i32, i32), words: &str, side: HPos) -> Result<()> {
    let style = ("sans-serif", 13).into_font().color(&TEXT.0).pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(words.to_owned(), at, style)).map_err(failed)
}

fn title(area: &Area, left: i32, top: i32, words: &str) -> Result<()> {
    area.draw(&Text::new(words.to_owned(), (left, top), ("sans-serif", 18).into_font().color(&TEXT.0))).map_err(failed)
}

fn draw_legend(area: &Area, left: i32, top: i32, entries: &[(String, Ink)]) -> Result<()> {
    let mut x = left;
    for (name, ink) in entries {
        line(area, &[(x, top + 7), (x + 22, top + 7)], *ink, 2)?;
        dot(area, (x + 11, top + 7), *ink)?;
        write(area, (x + 30, top), name, HPos::Left)?;
        x += 52 + 7 * name.chars().count() as i32;
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the plot cannot be drawn: {error}")
}
