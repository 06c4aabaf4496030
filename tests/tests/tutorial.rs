//! The tutorial works: its commands, run from an empty folder, do what it promises.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::{directory, workspace};
use kcov_tests::package::{built, with_cargo};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A fenced block of the tutorial.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// Commands.
    Commands(String),
    /// A file with its path relative to the working directory of the commands.
    File(String, String),
}

/// Parses the blocks to execute. The last text line before a file's block names the file in backquotes.
/// Blocks of the kind `console` are skipped: they build what is tested here.
fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let body = body.join("\n") + "\n";
        match kind {
            "sh" => blocks.push(Block::Commands(body)),
            "rust" => {
                let name =
                    before.split('`').nth(1).with_context(|| format!("no name of a file: {before}"))?;
                blocks.push(Block::File(name.to_owned(), body));
            }
            "console" => {}
            other => anyhow::bail!("a block of the kind {other:?}"),
        }
    }
    Ok(blocks)
}

/// All blocks as one script that prints a mark before the output of each.
fn script(blocks: &[Block]) -> Result<String> {
    let mut script = String::from("set -eu\nexec 2>&1\n");
    for (number, block) in blocks.iter().enumerate() {
        writeln!(script, "echo '== {number}'")?;
        match block {
            Block::Commands(commands) => script += commands,
            Block::File(name, body) => write!(script, "cat > {name} <<'END OF FILE'\n{body}END OF FILE\n")?,
        }
        if number == 0 {
            // The target directory in which the dependencies were built the last time.
            script += "ln -s \"$BUILT\" target\n";
        }
    }
    Ok(script)
}

/// Runs the tutorial in `folder`. Returns what its blocks print.
fn follow(folder: &Path) -> Result<Vec<String>> {
    let blocks = blocks(&fs::read_to_string(workspace().join("worker/TUTORIAL.md"))?)?;
    let mut command = Command::new("bash");
    command.arg("-c").arg(script(&blocks)? + "\n").current_dir(folder);
    command.env("KCOV", workspace()).env("BIN", directory()?).env("BUILT", built()?);
    command.env_remove("CARGO_TARGET_DIR");
    let output = with_cargo(&mut command)?.output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}:\n{stdout}\n{stderr}", output.status);
    Ok(stdout.split("== ").skip(1).map(str::to_owned).collect())
}

#[test]
fn the_tutorial_leads_from_an_empty_folder_to_a_bug() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let printed = follow(folder.path())?;
    let lines = fs::read_to_string(folder.path().join("door/src/main.rs"))?.lines().count();
    assert!(lines <= 20, "the first handler is too long: {lines} lines");
    let [_, _, device, fuzzing, report, replay, symbols, cover] = &printed[..] else {
        anyhow::bail!("unexpected blocks: {printed:#?}");
    };
    assert!(device.contains("/dev/door"), "{device}");
    assert!(fuzzing.contains("0x7801(0x6e657065736d)"), "{fuzzing}");
    assert!(report.contains("ioctl(/dev/door, 0x7801, 0x6e657065736d)"), "{report}");
    assert!(report.contains("src/main.rs:"), "{report}");
    assert!(replay.lines().any(|line| line.starts_with("reproduced")), "{replay}");
    assert!(symbols.contains("src/main.rs:"), "{symbols}");
    assert!(cover.contains("src/main.rs"), "{cover}");
    assert!(fs::read_to_string(folder.path().join("door/cover.html"))?.contains("nobody has built"));
    Ok(())
}

#[test]
fn blocks_of_a_text_are_parsed() -> Result<()> {
    let text = "Text\n```console\n$ a\n```\nThe file `x/y`:\n\n```rust\nfn main() {}\n```\n```sh\nls\n```\n";
    let file = Block::File("x/y".into(), "fn main() {}\n".into());
    assert_eq!(blocks(text)?, [file, Block::Commands("ls\n".into())]);
    assert!(blocks("```c\n```\n").is_err() && blocks("```rust\n```\n").is_err());
    Ok(())
}
