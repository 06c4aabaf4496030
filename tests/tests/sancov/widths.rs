//! Comparisons, divisions and switches of each width: type bits, constant first, one record for each case of
//! a switch, and no bit beyond the width.

use super::asked::{Decision, Place, decisions, places};
use anyhow::Result;
use kcov_tests::instrumented::Compiler;
use std::collections::BTreeMap;

/// Type of a record, as in `include/uapi/linux/kcov.h`.
const CONST: u64 = 1;
const BYTE: u64 = 0 << 1;
const HALF: u64 = 1 << 1;
const WORD: u64 = 2 << 1;
const LONG: u64 = 3 << 1;

/// Type and operands of a record.
type Compared = [u64; 3];

/// The records that an operation leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// A comparison.
    One(Compared),
    /// A comparison of the divisor with 0: clang calls back for divisions, and rustc's code itself makes the
    /// comparison.
    Division(Compared),
    /// A comparison with each case of the switch: this type, 1, -2, 4, and the value. clang compares the
    /// value that C has widened.
    Switch(u64, u64),
}

use Leaves::{Division, One, Switch};

/// The operations by key, with a value for each and the records that it leaves.
const OPERATIONS: [(&str, u64, Leaves); 10] = [
    ("compare_bytes", 0x1234_80ff, One([BYTE, 0xff, 0x80])),
    ("compare_halves", 0x1234_fffe_8001, One([HALF, 0x8001, 0xfffe])),
    ("compare_words", 0xfedc_ba98_8000_0001, One([WORD, 0x8000_0001, 0xfedc_ba98])),
    ("is_this_byte", 0x12ff, One([BYTE | CONST, 0xfe, 0xff])),
    ("is_this_half", 0x12_8001, One([HALF | CONST, 0xfffe, 0x8001])),
    ("divide_by_word", 0x12_8000_0001, Division([WORD | CONST, 0, 0x8000_0001])),
    ("divide_by_value", 0xfedc_ba98_8000_0001, Division([LONG | CONST, 0, 0xfedc_ba98_8000_0001])),
    ("switch_byte", 0x1280, Switch(BYTE | CONST, 0x80)),
    ("switch_half", 0x12_fffe, Switch(HALF | CONST, 0xfffe)),
    ("switch_word", 0x12_8000_0001, Switch(WORD | CONST, 0x8000_0001)),
];

/// The low bits of a number, by the type of a record.
fn truncated(kind: u64, number: i64) -> u64 {
    let bits = 8 << (kind >> 1);
    (number as u64) & (u64::MAX >> (64 - bits))
}

/// The number with these low bits, by the type of a record.
fn extended(kind: u64, bits: u64) -> i64 {
    let unused = 64 - (8 << (kind >> 1));
    (bits << unused) as i64 >> unused
}

fn expected(compiler: Compiler, leaves: Leaves) -> Vec<Compared> {
    match leaves {
        One(compared) => vec![compared],
        Division(_) if compiler == Compiler::Gcc => Vec::new(),
        Division(compared) => vec![compared],
        Switch(kind, value) => {
            let widened = match compiler {
                Compiler::Clang | Compiler::ClangCalls => WORD | CONST,
                Compiler::Gcc | Compiler::Rustc => kind,
            };
            // gcc orders the cases as signed numbers, LLVM as unsigned.
            let cases = if compiler == Compiler::Gcc { [-2, 1, 4] } else { [1, 4, -2] };
            let value = truncated(widened, extended(kind, value));
            cases.map(|case| [widened, truncated(widened, case), value]).into()
        }
    }
}

/// Type and operands of the records in this function of the source.
fn recorded(decision: &Decision, places: &BTreeMap<u64, Place>, function: &str) -> Vec<Compared> {
    let is_there = |record: &&[u64; 4]| places[&record[3]].function.ends_with(function);
    decision.comparisons.iter().filter(is_there).map(|[kind, a, b, _]| [*kind, *a, *b]).collect()
}

#[test]
fn each_width_leaves_exactly_its_comparisons() -> Result<()> {
    for compiler in Compiler::ALL {
        let folder = tempfile::tempdir()?;
        // Without optimisation clang compares the value that C has widened.
        let more: &[&str] = if compiler == Compiler::Rustc { &[] } else { &["-O1"] };
        let library = compiler.library(folder.path(), "widths", more)?;
        let questions: Vec<_> = (0..).zip(OPERATIONS).map(|(key, (_, value, _))| (key, value)).collect();
        let found = decisions(&library, &questions, 10)?;
        let places = places(&["--handler", &library.to_string_lossy()], &found)?;
        for (decision, (function, _, leaves)) in found.iter().zip(OPERATIONS) {
            let context = format!("{compiler:?}: {function} {decision:x?}");
            assert_eq!(recorded(decision, &places, function), expected(compiler, leaves), "{context}");
            // rustc's code also compares the key with the number of operations.
            let of_key = recorded(decision, &places, "decide");
            let is_checked = compiler == Compiler::Rustc;
            let check = is_checked.then_some([LONG | CONST, OPERATIONS.len() as u64, decision.key]);
            assert_eq!(of_key, Vec::from_iter(check), "{context}");
            // An operation without records of its own leaves the record by which the device shows that it
            // collects.
            let all = expected(compiler, leaves).len().max(1) + of_key.len();
            assert_eq!(decision.comparisons.len(), all, "{context}");
        }
    }
    Ok(())
}
