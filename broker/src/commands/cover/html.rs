//! One page with all that was covered: a table of the files and functions, and each source with its lines marked.
//!
//! It needs nothing but itself: no script, no network. The template escapes every text, as names, paths and sources are
//! other people's.

use super::Report;
use super::model::{FileCoverage, Tally, Totals};
use super::source::Source;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::{self, Write};

const STYLE: &str = include_str!("html.css");

/// Writes the page.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    out.write_all(page(report).into_string().as_bytes())
}

fn page(report: &Report) -> Markup {
    let totals = report.coverage.totals;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Coverage: " (totals.points.percent()) "% of " (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (navigation(report))
                main {
                    header id="top" {
                        h1 { "Coverage" }
                        p { code { (report.title) } }
                        (summary(totals))
                        @for remark in report.remarks() { p.remark { (remark) } }
                    }
                    @for (index, (file, source)) in report.files().enumerate() { (section(index, file, source)) }
                }
            }
        }
    }
}

fn navigation(report: &Report) -> Markup {
    html! {
        nav aria-label="Files" {
            a.total href="#top" { "All files" (meter(report.coverage.totals.points)) }
            ul {
                @for (index, (file, _)) in report.files().enumerate() {
                    @let (folder, name) = split(&file.path);
                    li {
                        a href={ "#f" (index) } title=(file.path) {
                            span.path { span.folder { (folder) } span.name { (name) } }
                            (meter(file.totals.points))
                        }
                    }
                }
            }
        }
    }
}

/// A path as the folder, with its slash, and the name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

fn meter(tally: Tally) -> Markup {
    html! {
        span.share {
            span.bar { span style={ "width:" (tally.percent()) "%" } {} }
            span.percent { (tally.percent()) "%" }
        }
    }
}

fn summary(totals: Totals) -> Markup {
    let Totals { points, lines, functions } = totals;
    html! {
        dl.totals {
            @for (name, tally) in [("Points", points), ("Lines", lines), ("Functions", functions)] {
                div {
                    dt { (name) }
                    dd { strong { (tally.percent()) "%" } " " (tally.covered) " of " (tally.coverable) }
                }
            }
        }
    }
}

fn section(index: usize, file: &FileCoverage, source: &Source) -> Markup {
    html! {
        section id={ "f" (index) } {
            h2 { (file.path) }
            (summary(file.totals))
            (functions(index, file))
            @match source {
                Source::Missing => {
                    p.remark { "The source is not here: the points of its lines are listed without their text." }
                    (listing(index, file, &[]))
                }
                Source::Found { lines, newer } => {
                    @if *newer {
                        p.remark { "The source was changed after the code was built: lines may be wrong." }
                    }
                    (listing(index, file, lines))
                }
            }
        }
    }
}

fn functions(index: usize, file: &FileCoverage) -> Markup {
    html! {
        details open[file.functions.len() <= 40] {
            summary { (file.functions.len()) " functions" }
            table.functions {
                @for function in &file.functions {
                    tr class=(shade(function.points)) {
                        td { a href={ "#f" (index) "-" (function.line) } { (function.name) } }
                        td.number { (function.points.covered) " of " (function.points.coverable) }
                        td { (meter(function.points)) }
                    }
                }
            }
        }
    }
}

/// The lines of a source; without its text, those that have points.
fn listing(index: usize, file: &FileCoverage, text: &[String]) -> Markup {
    let last = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let beyond = file.lines.keys().copied().filter(|line| *line > last);
    html! {
        table.source {
            @for (number, text) in (1_u32..).zip(text) {
                (line(index, number, file.lines.get(&number).copied(), text))
            }
            @for number in beyond {
                (line(index, number, file.lines.get(&number).copied(), ""))
            }
        }
    }
}

fn line(index: usize, number: u32, points: Option<Tally>, text: &str) -> Markup {
    let shade = points.map(shade);
    html! {
        tr id={ "f" (index) "-" (number) } class=[shade] {
            td.at { a href={ "#f" (index) "-" (number) } { (number) } }
            td.count title=[shade] { @if let Some(Tally { covered, coverable }) = points { (covered) "/" (coverable) } }
            td.text { (text) }
        }
    }
}

fn shade(tally: Tally) -> &'static str {
    match tally {
        Tally { covered: 0, .. } => "uncovered",
        Tally { covered, coverable } if covered < coverable => "partly",
        Tally { .. } => "covered",
    }
}
