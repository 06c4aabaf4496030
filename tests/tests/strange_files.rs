//! Files that somebody else put in place: commands neither block on them, nor read them without end, nor print what
//! they contain raw.

use anyhow::Result;
use kcov_tests::binaries::directory;
use kcov_tests::until;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(30);

/// A FIFO, an endless device, and a file of 1 TiB.
fn strange() -> Result<(TempDir, [PathBuf; 3])> {
    let directory = tempfile::tempdir()?;
    let [fifo, zero, huge] = ["fifo", "zero", "huge"].map(|name| directory.path().join(name));
    mkfifo(&fifo, Mode::S_IRWXU)?;
    symlink("/dev/zero", &zero)?;
    fs::File::create(&huge)?.set_len(1 << 40)?;
    Ok((directory, [fifo, zero, huge]))
}

/// Runs `kcov-broker` and fails if it does not end soon.
fn broker<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(words: I) -> Result<Output> {
    let mut command = Command::new(directory()?.join("kcov-broker"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Err(error) = until("the command to end", WITHIN, || child.try_wait().ok().flatten()) {
        child.kill()?;
        return Err(error);
    }
    Ok(child.wait_with_output()?)
}

fn texts(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn strange_configurations_handlers_and_programs_are_refused() -> Result<()> {
    let (_directory, files) = strange()?;
    for file in &files {
        let file = file.to_str().expect("a plain path");
        for words in [
            &["check", file][..],
            &["serve", "--config", file],
            &["run", "--handler", file, "--", "true"],
            &["symbolize", "--worker", file, "0xffffffff81000000"],
            &["symbolize", "--handler", file, "0xffffffff81000000"],
            &["replay", file],
        ] {
            let output = broker(words)?;
            assert!(!output.status.success(), "{words:?}: {}", texts(&output));
            let text = texts(&output);
            let reasons =
                ["regular file", "maximum", "larger", "longer", "not a library", "cannot", "Not a directory"];
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{words:?}: {text}");
        }
    }
    Ok(())
}

/// Each strange file in the place of each file of an artifact.
#[test]
fn strange_artifacts_are_listed_with_the_reason() -> Result<()> {
    let artifacts = tempfile::tempdir()?;
    for (kind, name) in ["artifact.json", "sightings.json"].into_iter().enumerate() {
        let (_directory, files) = strange()?;
        for (number, file) in files.iter().enumerate() {
            let folder = artifacts.path().join(format!("SIGSEGV-{kind}{number:015x}"));
            fs::create_dir(&folder)?;
            fs::write(folder.join("artifact.json"), "{}")?;
            fs::rename(file, folder.join(name))?;
        }
    }
    let output = broker([Path::new("artifacts"), artifacts.path()])?;
    let text = texts(&output);
    assert!(output.status.success() && text.lines().count() == 6, "{text}");
    for (reason, times) in [("not a regular file", 2), ("larger than", 1), ("not a valid artifact", 3)] {
        assert_eq!(text.matches(reason).count(), times, "{reason} in {text}");
    }
    Ok(())
}

/// A terminal shows what an artifact contains, and obeys nothing.
#[test]
fn an_artifacts_text_is_escaped() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let folder = directory.path().join("SIGSEGV-0123456789abcdef");
    let other = directory.path().join("SIGSEGV-0123456789abcde0");
    fs::create_dir(&folder)?;
    fs::create_dir(&other)?;
    let nasty = "a\\n\\u001b]0;title\\u0007\\u009b2J\\u202e";
    let binary = |path: &str| format!("{{\"path\": \"{path}\", \"build\": null}}");
    let frame = format!(
        "{{\"address\": 1, \"module\": \"{nasty}\", \"offset\": 1, \"function\": \"{nasty}\", \"file\": \"{nasty}\", \
         \"line\": 1, \"column\": 1, \"inlined\": false}}"
    );
    let json = format!(
        "{{\"version\": 1, \"end\": {{\"signal\": 11}}, \"call\": \"{nasty}\", \"tid\": 1, \"worker\": {}, \
         \"handlers\": [], \"preload\": null, \"devices\": [\"{nasty}\"], \"stack\": [{frame}], \
         \"truncated\": false, \"reads_missing\": false, \"events\": []}}",
        binary(nasty)
    );
    fs::write(folder.join("artifact.json"), &json)?;
    fs::write(other.join("artifact.json"), json.replace("{\"signal\": 11}", &format!("\"{nasty}\"")))?;
    for options in [&[][..], &["--json"]] {
        let output = broker([&["artifacts", directory.path().to_str().expect("plain")], options].concat())?;
        let text = texts(&output);
        assert!(output.status.success() && text.contains("title"), "{text}");
        assert!(!text.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.lines().count() <= 4, "{text}");
    }
    let replayed = texts(&broker(["replay", folder.to_str().expect("plain")])?);
    assert!(
        !replayed.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{replayed:?}"
    );
    Ok(())
}
