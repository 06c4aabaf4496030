//! The HTML report: one page with the files, their functions, and annotated sources.
//!
//! The page is self-contained: it uses no scripts and loads nothing from the network. The template escapes all text,
//! because names, paths and sources are untrusted.

use super::model::{FileCoverage, Ratio, Totals};
use super::report::CoverageReport;
use super::source::Source;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::{self, Write};

const STYLE: &str = include_str!("html.css");

/// Writes the page.
///
/// # Errors
/// If writing to `out` fails.
pub fn write(report: &CoverageReport, out: &mut impl Write) -> io::Result<()> {
    out.write_all(page(report).into_string().as_bytes())
}

fn page(report: &CoverageReport) -> Markup {
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

fn navigation(report: &CoverageReport) -> Markup {
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

/// Splits a path after its last slash.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

fn meter(ratio: Ratio) -> Markup {
    html! {
        span.share {
            span.bar { span style={ "width:" (ratio.percent()) "%" } {} }
            span.percent { (ratio.percent()) "%" }
        }
    }
}

fn summary(totals: Totals) -> Markup {
    let Totals { points, lines, functions } = totals;
    html! {
        dl.totals {
            @for (name, ratio) in [("Points", points), ("Lines", lines), ("Functions", functions)] {
                div {
                    dt { (name) }
                    dd { strong { (ratio.percent()) "%" } " " (ratio.covered) " of " (ratio.coverable) }
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
                    p.remark { "Source file not found: only the numbers of lines with coverage points are listed." }
                    (listing(index, file, &[]))
                }
                Source::Found { lines, newer } => {
                    @if *newer {
                        p.remark { "The source file is newer than the binary: lines may be wrong." }
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

/// Renders the lines of a source; if the source is missing, only lines with points.
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

fn line(index: usize, number: u32, points: Option<Ratio>, text: &str) -> Markup {
    let shade = points.map(shade);
    html! {
        tr id={ "f" (index) "-" (number) } class=[shade] {
            td.at { a href={ "#f" (index) "-" (number) } { (number) } }
            td.count title=[shade] { @if let Some(Ratio { covered, coverable }) = points { (covered) "/" (coverable) } }
            td.text { (text) }
        }
    }
}

fn shade(ratio: Ratio) -> &'static str {
    match ratio {
        Ratio { covered: 0, .. } => "uncovered",
        Ratio { covered, coverable } if covered < coverable => "partly",
        Ratio { .. } => "covered",
    }
}
