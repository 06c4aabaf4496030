//! Symbolizes the test program itself, which has two sites for this purpose.

use super::*;
use crate::symbolize::{Kind, SymbolizeError};
use kcov_proto::site::{Place, Site, SiteKind};

const LINE: u32 = line!() + 10;

fn marked() -> [&'static Site; 2] {
    macro_rules! site {
        ($name:literal) => {{
            #[used]
            #[expect(unsafe_code, reason = "sites are in a link section, which holds nothing else")]
            #[unsafe(link_section = "kcov_sites")]
            static SITE: Site = Site::new(
                SiteKind::Edge,
                Place { file: file!(), line: LINE, column: 7, module: module_path!() },
                $name,
                concat!($name, "x"),
            );
            &SITE
        }};
    }
    [site!(""), site!("named")]
}

fn symbolizer() -> Symbolizer {
    assert!(marked().iter().all(|site| site.bytes().starts_with(b"KCs1")));
    Symbolizer::new(&std::env::current_exe().unwrap(), []).expect("a program with sites")
}

fn printed(json: bool, input: &str) -> (bool, String) {
    let symbolizer = symbolizer();
    let mut out = Vec::new();
    let mut printer = Printer { symbolizer: &symbolizer, json, missing: Missing::default() };
    printer.print_lines(input.as_bytes(), &mut out).expect("numbers");
    (printer.missing.is_empty(), String::from_utf8(out).unwrap())
}

#[test]
fn sites_are_found_with_function_file_and_line() {
    let symbolizer = symbolizer();
    let found: Vec<_> = symbolizer.points().collect();
    assert_eq!(found.len(), 2);
    for (pc, location) in &found {
        let location = location.as_ref().expect("a location");
        assert_eq!(location.function, concat!(module_path!(), "::marked"));
        assert_eq!((location.line, location.column), (Some(LINE), Some(7)));
        assert_eq!(location.kind, Kind::Site(SiteKind::Edge));
        assert!(location.file.as_ref().is_some_and(|file| file.ends_with("symbolize/tests.rs")));
        for pc in [*pc, pc - 4, pc - 5] {
            assert_eq!(symbolizer.resolve(pc).as_ref(), Some(location));
        }
    }
    let name = |(_, site): &(u64, Option<Location>)| site.as_ref().and_then(|site| site.name.clone());
    assert!(found.iter().filter_map(name).eq(["named"]));
    assert_eq!([0, u64::MAX, found[1].0 + 16].map(|pc| symbolizer.resolve(pc)), [None, None, None]);
}

#[test]
fn each_pc_is_printed_on_a_line() {
    let (known, text) = printed(false, "0xffffffff81000008 ffffffff81000018\n\n18446744071578845192\n");
    let lines: Vec<&str> = text.lines().collect();
    assert!(known && lines.len() == 3 && lines[0] == lines[2], "{text}");
    assert!(lines[1].starts_with("0xffffffff81000018 kcov_broker::commands::symbolize::tests::marked "));
    assert!(lines[1].ends_with(&format!("symbolize/tests.rs:{LINE}:7")));
}

#[test]
fn unknown_pcs_are_reported() {
    assert_eq!(printed(false, "0x10\n"), (false, "0x0000000000000010 ??\n".into()));
    let (known, text) = printed(true, "0xffffffff81000008 0x10");
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!known);
    assert_eq!(objects[0]["location"]["line"], LINE);
    assert_eq!(objects[0]["location"]["kind"], "edge");
    assert_eq!(objects[1], serde_json::json!({ "pc": "0x0000000000000010", "location": null }));
}

#[test]
fn malformed_numbers_are_errors() {
    for word in ["0x", "0xg", "main", "0x1ffffffffffffffff", "99999999999999999999999", "-1"] {
        assert!(parse_pc(word).is_err(), "{word}");
    }
    assert_eq!(parse_pc("0X1f").ok(), Some(31));
}

#[test]
fn binaries_without_sites_are_errors() {
    let error = |path: &str| Symbolizer::new(path.as_ref(), []).unwrap_err();
    assert!(matches!(error("/nonexistent"), SymbolizeError::Read { .. }));
    assert!(matches!(error("/proc/self/cmdline"), SymbolizeError::Parse { .. }));
    assert!(matches!(error("/bin/true"), SymbolizeError::NoSites { .. }));
}
