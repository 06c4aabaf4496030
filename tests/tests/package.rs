//! The Debian package as an operator gets it: what lintian reports, what it installs, how the service runs,
//! and what a purge leaves. `deploy/test` builds the package first and names it in `KCOV_PACKAGE`.

use anyhow::{Context, Result, ensure};
use kcov_tests::{binaries, client, library};
use std::path::{Path, PathBuf};
use std::process::Command;

fn package() -> Result<PathBuf> {
    let path = std::env::var_os("KCOV_PACKAGE").context("KCOV_PACKAGE names no package: use deploy/test")?;
    Ok(path.into())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start of {command:?}"))?;
    let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(text)
}

/// What a script printed on a machine with the package installed, and the files that changed there since.
struct Installed {
    said: String,
    changed: Vec<String>,
}

/// Installs the package on a fresh machine with `files` in `/tmp`, and runs `script` there.
fn installed(script: &str, files: &[&Path]) -> Result<Installed> {
    let directory = tempfile::tempdir()?;
    let machine = binaries::workspace().join("tests/tests/package/machine");
    let package = package()?;
    let name = package.file_name().context("a package is a file")?.to_string_lossy();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(machine).arg(directory.path());
    command.arg(format!(
        "dpkg -i /tmp/{name} >/tmp/dpkg.log 2>&1 || {{ cat /tmp/dpkg.log; exit 1; }}\n{script}"
    ));
    let text = output(command.arg(&package).args(files))?;
    let (said, changed) = text.split_once("changed:\n").context("no list of changed files")?;
    Ok(Installed { said: said.to_owned(), changed: changed.lines().map(str::to_owned).collect() })
}

#[test]
fn lintian_reports_nothing() -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(package()?);
    output(&mut lintian).map(drop)
}

#[test]
fn the_files_that_an_operator_needs_are_installed() -> Result<()> {
    let machine = installed(
        "id -un kcov-tenant; man -w kcov-broker-serve kcov-broker.toml kcov-handler; kcov-broker doctor",
        &[],
    )?;
    let wanted = [
        "usr/bin/kcov-broker",
        "usr/libexec/kcov-broker/kcov-worker",
        "usr/include/kcov_handler.h",
        "usr/share/pkgconfig/kcov-handler.pc",
        "usr/share/man/man1/kcov-broker.1.gz",
        "usr/share/man/man1/kcov-broker-run.1.gz",
        "usr/share/man/man1/kcov-broker-tenant-add.1.gz",
        "usr/share/man/man5/kcov-broker.toml.5.gz",
        "usr/share/man/man7/kcov-handler.7.gz",
        "usr/share/bash-completion/completions/kcov-broker",
        "usr/share/zsh/vendor-completions/_kcov-broker",
        "usr/share/fish/vendor_completions.d/kcov-broker.fish",
        "usr/share/doc/kcov-broker/copyright",
        "usr/share/doc/kcov-broker/README.md",
        "usr/share/doc/kcov-broker/TUTORIAL.md",
        "usr/share/doc/kcov-broker/LIMITS.md",
        "usr/share/doc/kcov-broker/ARCHITECTURE.md",
        "usr/share/doc/kcov-broker/SECURITY.md",
        "usr/share/doc/kcov-broker/changelog.gz",
        "usr/share/doc/kcov-broker/examples/fuzzing.toml",
        "usr/share/doc/kcov-broker/examples/handler/Makefile",
        "usr/share/doc/kcov-broker/examples/handler/adder.rs",
        "usr/share/kcov-broker/rust/Cargo.lock",
        "usr/share/kcov-broker/rust/proto/sys/src/lib.rs",
        "usr/share/kcov-broker/rust/worker/src/lib.rs",
        "etc/kcov-broker/serve.toml",
        "var/lib/kcov-broker/",
    ];
    for path in wanted {
        assert!(machine.changed.iter().any(|changed| changed == path), "{path} in {:#?}", machine.changed);
    }
    Ok(())
}

/// The installed files are enough to build a handler from its documentation.
#[test]
fn the_handler_of_the_documentation_is_built_and_covered() -> Result<()> {
    let script = "cp -r /usr/share/doc/kcov-broker/examples/handler /tmp\n\
        make -C /tmp/handler run cover\n\
        test -s /tmp/handler/cover.html";
    let machine = installed(script, &[])?;
    assert!(machine.said.contains("adder.c:"), "the report names its lines: {}", machine.said);
    Ok(())
}

#[test]
fn the_systemd_unit_is_valid() -> Result<()> {
    const EXPOSURE: &str = "60";
    let unit = "$(dpkg -L kcov-broker | grep '/kcov-broker.service$')";
    let script = format!(
        "systemd-analyze verify {unit}\n\
         systemd-analyze security --offline=true --threshold={EXPOSURE} {unit}"
    );
    let machine = installed(&script, &[])?;
    assert!(machine.said.contains("Overall exposure level"), "{}", machine.said);
    Ok(())
}

/// Files that the shipped configurations name, with their stand-ins here.
const STAND_INS: &str = "cd /tmp\n\
    for library in target other agent pool; do cp libprobe.so $library.so; done\n\
    for program in fuzzer builder load; do cp one_call $program; done\n";

#[test]
fn the_shipped_configurations_are_valid() -> Result<()> {
    let script = format!(
        "{STAND_INS}
        kcov-broker check /etc/kcov-broker/serve.toml
        for file in /usr/share/doc/kcov-broker/examples/*.toml; do
            cp $file /tmp; kcov-broker check /tmp/$(basename $file)
        done"
    );
    installed(&script, &[&library("probe")?, &client("one_call")?]).map(drop)
}

#[test]
fn the_installed_service_runs_and_a_purge_leaves_nothing() -> Result<()> {
    let script = "
        mkdir -m 0700 /run/kcov-broker
        unit=$(dpkg -L kcov-broker | grep '/kcov-broker.service$')
        start() {
            $(sed -n 's/^ExecStart=//p' $unit) 2>/tmp/serve.log &
            serve=$!
            trap 'kill -9 $serve 2>/dev/null || true' EXIT
            tries=0
            until kcov-broker tenant list >/dev/null 2>&1; do
                tries=$((tries + 1)); [ $tries -lt 300 ] || { cat /tmp/serve.log; exit 1; }
                sleep 0.1
            done
        }
        start
        printf '[[tenant]]\\nname = \"one\"\\nuser = \"kcov-tenant\"\\ncommand = [\"/bin/sleep\", \"1000\"]\\n' >/tmp/one.toml
        kcov-broker tenant add /tmp/one.toml
        kcov-broker tenant list
        kcov-broker tenant restart one
        kcov-broker tenant stop one
        kill -TERM $serve
        wait $serve
        start
        kcov-broker tenant add /tmp/one.toml
        dpkg --purge kcov-broker >/dev/null 2>&1
        wait $serve
        ! id kcov-tenant 2>/dev/null
        ";
    let machine = installed(script, &[])?;
    assert!(machine.said.contains("one"), "{}", machine.said);
    // Files of the package manager itself.
    let kept = |path: &String| {
        ["var/lib/dpkg/", "var/log/", "var/cache/"].iter().any(|folder| path.starts_with(folder))
            || path.ends_with('/')
            || path.ends_with('-')
            || [
                "etc/passwd",
                "etc/group",
                "etc/shadow",
                "etc/gshadow",
                "etc/subuid",
                "etc/subgid",
                "etc/.pwd.lock",
            ]
            .contains(&path.as_str())
    };
    let left: Vec<_> = machine.changed.iter().filter(|path| !kept(path)).collect();
    assert!(left.is_empty(), "{left:?}");
    let folders = machine.changed.iter().filter(|path| path.contains("kcov")).collect::<Vec<_>>();
    let of_dpkg = |path: &&&String| path.starts_with("var/lib/dpkg/");
    assert!(folders.iter().all(|path| of_dpkg(&path)), "{folders:?}");
    Ok(())
}
