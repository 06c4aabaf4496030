//! Decisions of the handler `branches`, and the records that they leave in the caller's area.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::directory;
use kcov_tests::instrumented::succeed;
use kcov_tests::{Run, client};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Key and value.
pub type Question = (u64, u64);

/// A question to the function, its answer, and the records that it left.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    pub key: u64,
    pub value: u64,
    pub pcs: Vec<u64>,
    /// Type, both operands, PC.
    pub comparisons: Vec<[u64; 4]>,
}

fn number(word: &str) -> Result<u64> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.with_context(|| format!("not a number: {word}"))
}

fn numbers(words: &str) -> Result<Vec<u64>> {
    words.split_whitespace().map(number).collect()
}

/// Runs all questions in `rounds` rounds against the handler of a library, and asserts that each round leaves
/// the same records.
pub fn decisions(library: &Path, questions: &[Question], rounds: u32) -> Result<Vec<Decision>> {
    decisions_of(&["--handler", &library.to_string_lossy()], questions, rounds)
}

/// The same in a run with these options.
pub fn decisions_of(options: &[&str], questions: &[Question], rounds: u32) -> Result<Vec<Decision>> {
    let words = questions.iter().flat_map(|(key, value)| [key.to_string(), value.to_string()]);
    let words = [rounds.to_string()].into_iter().chain(words).map(Into::into);
    let run = Run::new([client("branches_trace")?.into_os_string()].into_iter().chain(words));
    let outcome = options.iter().fold(run, |run, option| run.option(option)).output()?;
    outcome.assert_sound()?;
    let decisions = parse(&outcome.stdout)?;
    ensure!(decisions.len() == questions.len(), "{}", outcome.stdout);
    Ok(decisions)
}

/// Parses the output of the client.
fn parse(printed: &str) -> Result<Vec<Decision>> {
    let mut decisions: Vec<Decision> = Vec::new();
    for line in printed.lines() {
        if let Some((question, _)) = line.split_once(" = ") {
            let [key, value] = numbers(question)?[..] else { anyhow::bail!("{line}") };
            decisions.push(Decision { key, value, ..Decision::default() });
            continue;
        }
        let last = decisions.last_mut().context("a question comes first")?;
        match line.split_once(' ').unwrap_or((line, "")) {
            ("pc", pcs) => last.pcs = numbers(pcs)?,
            ("cmp", words) => {
                last.comparisons.push(numbers(words)?.try_into().map_err(|_| anyhow::anyhow!("{line}"))?);
            }
            _ => anyhow::bail!("{line}"),
        }
    }
    Ok(decisions)
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u64,
}

/// The place of each PC, by `kcov-broker symbolize` with these options.
pub fn places(options: &[&str], decisions: &[Decision]) -> Result<BTreeMap<u64, Place>> {
    let of_comparisons =
        decisions.iter().flat_map(|decision| decision.comparisons.iter().map(|record| record[3]));
    let pcs: BTreeSet<u64> =
        decisions.iter().flat_map(|decision| decision.pcs.clone()).chain(of_comparisons).collect();
    let mut symbolize = Command::new(directory()?.join("kcov-broker"));
    symbolize.args(["symbolize", "--json"]).args(options).args(pcs.iter().map(|pc| format!("{pc:#x}")));
    let mut places = BTreeMap::new();
    for (pc, line) in pcs.iter().zip(succeed(&mut symbolize)?.lines()) {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let place = &value["location"];
        let text =
            |key: &str| place[key].as_str().map(str::to_owned).with_context(|| format!("{key}: {line}"));
        let number = place["line"].as_u64().with_context(|| format!("line: {line}"))?;
        places.insert(*pc, Place { function: text("function")?, file: text("file")?, line: number });
    }
    ensure!(places.len() == pcs.len(), "expected a line for each PC");
    Ok(places)
}

/// The source of the function, to look up lines.
pub struct Source(String);

impl Source {
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Source(fs::read_to_string(path)?))
    }

    /// The number of the first line with this text.
    pub fn line(&self, text: &str) -> u64 {
        let at = self.0.lines().position(|line| line.contains(text));
        at.unwrap_or_else(|| panic!("no {text} in the source")) as u64 + 1
    }
}
