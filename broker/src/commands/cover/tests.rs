//! Compares the model with counting by hand and by brute force; renders hostile names.

use super::report::{CoverageReport, UnknownMarks};
use super::*;
use crate::symbolize::SourceLine;
use kcov_proto::cover_map::CoverMarks;
use kcov_proto::cover_map::PAGE;
use kcov_proto::site::{TEXT_START, pc_of_id, pc_of_index};
use model::{Point, Ratio};
use proptest::collection::vec;
use proptest::prelude::*;
use source::Source;
use std::collections::{BTreeMap, BTreeSet};

fn point(pc: u64, file: &str, function: &str, line: u32) -> Point {
    Point { pc, function: function.into(), file: file.into(), line, lines: None }
}

/// Two files, three functions; the points with an odd PC are covered.
fn coverage() -> Coverage {
    let points = [
        point(1, "b.c", "open", 10),
        point(2, "b.c", "open", 10),
        point(3, "b.c", "open", 12),
        point(4, "b.c", "close", 3),
        point(5, "a.c", "f<&>", 7),
        point(6, "a.c", "f<&>", 0),
    ];
    Coverage::new(points, |pc| pc % 2 == 1)
}

fn report(coverage: Coverage, source: Source) -> CoverageReport {
    let sources = coverage.files.iter().map(|_| source.clone()).collect();
    CoverageReport {
        title: "fuzz <seed> & co".into(),
        coverage,
        sources,
        uninstrumented: Vec::new(),
        others: UnknownMarks { ids: 2, unknown: 1 },
    }
}

fn ratio(covered: usize, coverable: usize) -> Ratio {
    Ratio { covered, coverable }
}

fn rendered(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn points_are_counted_by_file_function_and_line() {
    let coverage = coverage();
    let [a, b] = &coverage.files[..] else { panic!("two files: {coverage:?}") };
    assert_eq!((a.path.as_str(), b.path.as_str()), ("a.c", "b.c"));
    assert_eq!(
        (a.totals.points, a.totals.lines, a.totals.functions),
        (ratio(1, 2), ratio(1, 1), ratio(1, 1))
    );
    assert_eq!(
        (b.totals.points, b.totals.lines, b.totals.functions),
        (ratio(2, 4), ratio(2, 3), ratio(1, 2))
    );
    assert_eq!(b.lines, BTreeMap::from([(3, ratio(0, 1)), (10, ratio(1, 2)), (12, ratio(1, 1))]));
    let functions: Vec<_> = b.functions.iter().map(|f| (f.name.as_str(), f.line, f.points)).collect();
    assert_eq!(functions, [("close", 3, ratio(0, 1)), ("open", 10, ratio(2, 3))]);
    assert_eq!(coverage.totals.points, ratio(3, 6));
}

/// Lines come from the points' blocks; lines in files without points are left out.
#[test]
fn a_line_is_covered_if_a_point_of_its_block_is() {
    let line = |file: &str, line| SourceLine { file: file.into(), line };
    let blocks = [
        (1, vec![line("a.c", 7), line("a.c", 8), line("inline.h", 2)]),
        (2, vec![line("a.c", 8), line("a.c", 9)]),
    ];
    let points = blocks.map(|(pc, lines)| Point { lines: Some(lines), ..point(pc, "a.c", "f", 20) });
    // Two points in empty blocks: one at a line of another block, one at a line of its own.
    let alone = [9, 30].map(|line| Point { lines: Some(Vec::new()), ..point(3, "a.c", "f", line) });
    let coverage = Coverage::new(points.into_iter().chain(alone), |pc| pc % 2 == 1);
    let [a] = &coverage.files[..] else { panic!("one file: {coverage:?}") };
    let lines = [(7, ratio(1, 1)), (8, ratio(1, 2)), (9, ratio(0, 1)), (30, ratio(1, 1))];
    assert_eq!(a.lines, BTreeMap::from(lines));
    assert_eq!((a.totals.points, a.totals.lines), (ratio(3, 4), ratio(3, 4)));
}

#[test]
fn only_full_coverage_is_100_percent() {
    let percents = [ratio(0, 0), ratio(0, 3), ratio(199, 200), ratio(3, 3)].map(Ratio::percent);
    assert_eq!(percents, [100, 0, 99, 100]);
}

#[test]
fn the_tracefile_has_one_record_per_file() {
    let text = rendered(|out| lcov::write(&coverage(), out));
    let expected = "TN:\nSF:a.c\nFN:7,f<&>\nFNDA:1,f<&>\nFNF:1\nFNH:1\nDA:7,1\nLF:1\nLH:1\nend_of_record\n\
        TN:\nSF:b.c\nFN:3,close\nFN:10,open\nFNDA:0,close\nFNDA:1,open\nFNF:2\nFNH:1\n\
        DA:3,0\nDA:10,1\nDA:12,1\nLF:3\nLH:2\nend_of_record\n";
    assert_eq!(text, expected);
}

#[test]
fn the_summary_has_remarks() {
    let text = rendered(|out| text::write(&report(coverage(), Source::Missing), out));
    assert!(text.starts_with("covered: 3 of 6 (50%) points, 3 of 4 (75%) lines, 2 of 3 (66%) functions\n"));
    assert!(text.contains("     2 of      4   50% b.c (source not found)\n"), "{text}");
    assert!(text.contains("     0 of      1    0%   close:3\n"), "{text}");
    assert!(text.contains("not counted: 2 explicit ids"), "{text}");
    let newer = Source::Found { lines: vec![], newer: true };
    let text = rendered(|out| text::write(&report(coverage(), newer), out));
    assert!(text.contains("b.c (newer than the binary: lines may be wrong)"), "{text}");
}

#[test]
fn many_unreached_functions_are_only_counted() {
    let points = (0..50).map(|n| point(n, "a.c", &format!("f{n}"), n as u32));
    let coverage = Coverage::new(points, |pc| pc == 7);
    let text = rendered(|out| text::write(&report(coverage, Source::Missing), out));
    assert!(text.contains(" f7:7\n") && !text.contains(" f8:8\n"), "{text}");
    assert!(text.contains("and 49 functions not reached"), "{text}");
}

#[test]
fn the_page_shows_each_line_and_escapes_text() {
    let lines = (1..=12).map(|n| format!("if (a < {n} && \"x\") // </td><script>")).collect();
    let page = rendered(|out| html::write(&report(coverage(), Source::Found { lines, newer: false }), out));
    assert!(page.contains("fuzz &lt;seed&gt; &amp; co") && page.contains("f&lt;&amp;&gt;"));
    assert!(!page.contains("<script") && !page.contains("</td><script>"));
    assert!(page.contains(r##"<tr id="f1-10" class="partly">"##), "{page}");
    assert!(page.contains(r##"<tr id="f1-3" class="uncovered">"##));
    assert!(page.contains(r##"<tr id="f1-12" class="covered">"##));
    assert!(page.contains(r##"<tr id="f1-11">"##));
    for url in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!page.contains(url), "the page is self-contained: {url}");
    }
}

#[test]
fn a_page_without_sources_lists_lines_with_points() {
    let page = rendered(|out| html::write(&report(coverage(), Source::Missing), out));
    assert!(page.contains("Source file not found"));
    assert!(page.contains(r##"<tr id="f1-12" class="covered">"##) && !page.contains(r##"<tr id="f1-11""##));
}

#[test]
fn json_has_all_counts() {
    let value = serde_json::to_value(report(coverage(), Source::Missing)).unwrap();
    assert_eq!(value["command"], "fuzz <seed> & co");
    assert_eq!(value["totals"]["points"], serde_json::json!({ "covered": 3, "coverable": 6 }));
    assert_eq!(value["files"][1]["functions"][0]["name"], "close");
    assert_eq!(value["files"][1]["lines"]["10"], serde_json::json!({ "covered": 1, "coverable": 2 }));
    assert_eq!(value["others"], serde_json::json!({ "ids": 2, "unknown": 1 }));
}

#[test]
fn globs_match_the_whole_path() {
    let globs = |patterns: &[&str]| -> Vec<glob::Pattern> {
        patterns.iter().map(|pattern| glob::Pattern::new(pattern).unwrap()).collect()
    };
    let wanted =
        |include: &[&str], exclude: &[&str]| is_wanted("/src/a/b.c", &globs(include), &globs(exclude));
    assert!(wanted(&[], &[]) && wanted(&["*.c"], &[]) && wanted(&["x", "/src/*"], &["*.h"]));
    assert!(!wanted(&["b.c"], &[]) && !wanted(&[], &["*/a/*"]) && !wanted(&["*.c"], &["*.c"]));
}

#[test]
fn marks_without_a_point_are_counted_by_kind() {
    let mut marks = CoverMarks::default();
    let pcs = [pc_of_index(0), pc_of_index(1), pc_of_id(0), TEXT_START];
    let place = |pc: u64| (pc as u32 / 8) as usize;
    for page in pcs.map(|pc| place(pc) / PAGE) {
        let mut bytes = [0; PAGE];
        pcs.iter().filter(|pc| place(**pc) / PAGE == page).for_each(|pc| bytes[place(*pc) % PAGE] = 1);
        marks.take(page, &bytes);
    }
    assert_eq!(UnknownMarks::count(&marks, 2), UnknownMarks { ids: 1, unknown: 1 });
}

fn any_point() -> impl Strategy<Value = Point> {
    (0..40_u64, "[ab\n<]{0,3}", "[fg\"\u{1b}]{0,3}", 0..9_u32).prop_map(|(pc, file, function, line)| Point {
        pc,
        function,
        file,
        line,
        lines: None,
    })
}

proptest! {
    #[test]
    fn counts_agree_with_brute_force(points in vec(any_point(), 0..60), covered: u64) {
        let is_covered = |pc: u64| covered >> pc & 1 == 1;
        let coverage = Coverage::new(points.clone(), is_covered);
        let hit: Vec<_> = points.iter().filter(|point| is_covered(point.pc)).collect();
        prop_assert_eq!(coverage.totals.points, ratio(hit.len(), points.len()));
        let lines = |of: &[&Point]| {
            let lines: BTreeSet<_> = of.iter().filter(|p| p.line > 0).map(|p| (p.file.clone(), p.line)).collect();
            lines.len()
        };
        let all: Vec<_> = points.iter().collect();
        prop_assert_eq!(coverage.totals.lines, ratio(lines(&hit), lines(&all)));
        let functions = |of: &[&Point]| {
            let functions: BTreeSet<_> = of.iter().map(|p| (p.file.clone(), p.function.clone())).collect();
            functions.len()
        };
        prop_assert_eq!(coverage.totals.functions, ratio(functions(&hit), functions(&all)));
    }

    #[test]
    fn any_names_give_well_formed_output(points in vec(any_point(), 0..30), covered: u64) {
        let report = report(Coverage::new(points, |pc| covered >> pc & 1 == 1), Source::Missing);
        let files = report.coverage.files.len();
        let tracefile = rendered(|out| lcov::write(&report.coverage, out));
        prop_assert_eq!(tracefile.lines().filter(|line| *line == "end_of_record").count(), files);
        prop_assert!(tracefile.lines().all(|line| line == "end_of_record" || line.contains(':')));
        prop_assert!(!tracefile.replace('\n', "").contains(char::is_control));
        let summary = rendered(|out| text::write(&report, out));
        prop_assert!(!summary.replace('\n', "").contains(char::is_control));
        let page = rendered(|out| html::write(&report, out));
        prop_assert_eq!(page.matches("<section").count(), files);
    }
}
