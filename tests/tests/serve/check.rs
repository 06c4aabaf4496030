//! `kcov-broker check` reports every error in a file, with line and key, as text and as JSON.

use anyhow::Result;
use kcov_tests::service::tenant;
use kcov_tests::{Session, library};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

fn check(session: &Session, words: &[&str]) -> Result<Output> {
    Ok(session.command(session.path("kcov-broker")).arg("check").args(words).output()?)
}

/// Invalid TOML, unknown keys, values out of bounds and problems of this machine are reported in one run, by
/// line, each once.
#[test]
fn every_error_is_reported_in_one_run() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("wrong.toml");
    fs::write(session.path("text.so"), "no library\n")?;
    let text = "\
[serve]
uids = \"10-1\"
[defaults]
deadline = \"soon\"
handlers = [\"none.so\", \"text.so\"]
[[tenant]]
name = \"one\"
command = [\"/no/such/program\"]
user = \"no-such-user\"
restart-max = many
quotas = { area = \"2G\", total = \"1G\" }
[[tenant]]
name = \"one\"
command = \"true\"
directory = \"/dev/null\"
colour = \"red\"
";
    fs::write(&file, text)?;
    let name = file.to_string_lossy();
    let expected = [
        (2, "serve.uids", "10 is greater than 1"),
        (4, "defaults.deadline", "'soon'"),
        (5, "defaults.handlers", "none.so: there is no such file"),
        (5, "defaults.handlers", "text.so is not a library"),
        (8, "tenant.command", "/no/such/program: command not found"),
        (9, "tenant.user", "there is no user no-such-user"),
        (10, "", "must be quoted"),
        (11, "tenant.quotas.area", "larger than `total`"),
        (13, "tenant.name", "line 7 already has a tenant one"),
        (14, "tenant.command", "expected an array"),
        (15, "tenant.directory", "/dev/null is not a directory"),
        (16, "tenant.colour", "unknown key"),
    ];
    let output = check(&session, &[&name, "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let errors = verdict["errors"].as_array().cloned().unwrap_or_default();
    let mut places: Vec<_> = errors.iter().map(|e| (e["line"].as_u64(), e["key"].as_str())).collect();
    places.sort();
    let expected_places: Vec<_> = expected.iter().map(|(line, key, _)| (Some(*line), Some(*key))).collect();
    assert_eq!(places, expected_places, "{verdict:#}");
    assert_eq!(verdict["valid"], false);

    let output = check(&session, &[&name])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), expected.len() + 1), "{said}");
    for (line, key, part) in expected {
        let place =
            if key.is_empty() { format!("{name}:{line}: ") } else { format!("{name}:{line}: {key}: ") };
        let found = said.lines().any(|said| said.starts_with(&place) && said.contains(part));
        assert!(found, "{place}{part}\n{said}");
    }
    Ok(())
}

/// The keys of the service are checked too: sockets and files that cannot be created, uids that are in use.
#[test]
fn the_keys_of_the_service_are_checked() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("serve.toml");
    let name = file.to_string_lossy();
    let long = "l".repeat(120);
    let text = format!(
        "[serve]\nsocket = \"/no/such/control\"\nuids = \"1-2\"\n\
         [serve.metrics]\nfile = \"/no/such.prom\"\nlisten = \"/tmp/{long}\"\n"
    );
    fs::write(&file, text)?;
    let output = check(&session, &[&name])?;
    let said = String::from_utf8_lossy(&output.stderr);
    for (line, key, part) in [
        (2, "serve.socket", "mkdir -p /no"),
        (3, "serve.uids", "the uid of daemon"),
        (5, "serve.metrics.file", "mkdir -p /no"),
        (6, "serve.metrics.listen", "125 bytes long"),
    ] {
        let place = format!("{name}:{line}: {key}: ");
        let found = said.lines().any(|said| said.starts_with(&place) && said.contains(part));
        assert!(found, "{place}{part}\n{said}");
    }
    assert_eq!(said.lines().count(), 5, "{said}");
    Ok(())
}

/// `--text` checks a file for another machine.
#[test]
fn a_file_can_be_checked_without_this_machine() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("elsewhere.toml");
    let name = file.to_string_lossy();
    fs::write(&file, tenant("one", &["/no/such/program"], "user = \"no-such-user\""))?;
    assert_eq!(check(&session, &[&name])?.status.code(), Some(1));
    let output = check(&session, &[&name, "--text"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no errors; tenants: 1"));
    Ok(())
}

/// A handler is recognised by its file: an ELF file for this machine that exports the handler's function.
#[test]
fn handlers_are_checked_by_their_elf_files() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("handlers.toml");
    let name = file.to_string_lossy();
    let right = library("probe")?;
    fs::write(&file, tenant("one", &["true"], &format!("handlers = [{right:?}]")))?;
    let output = check(&session, &[&name])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A program of this machine that does not export the handler's function.
    fs::write(&file, tenant("one", &["true"], "handlers = [\"/bin/true\"]"))?;
    let said = check(&session, &[&name])?.stderr;
    assert!(String::from_utf8_lossy(&said).contains("does not export `kcov_handler_v1`"));
    let bytes = fs::read(&right)?;
    for end in [0, 10, 64, bytes.len() / 2] {
        fs::write(session.path("cut.so"), &bytes[..end])?;
        fs::write(&file, tenant("one", &["true"], "handlers = [\"cut.so\"]"))?;
        let output = check(&session, &[&name])?;
        assert_eq!(output.status.code(), Some(1), "{end} bytes of a library");
    }
    Ok(())
}

/// Errors of the file as a whole have no line.
#[test]
fn an_unreadable_file_is_reported() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("file.toml");
    let name = file.to_string_lossy();
    let said = |words: &[&str]| -> Result<String> {
        let output = check(&session, words)?;
        assert_eq!(output.status.code(), Some(1));
        Ok(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned())
    };
    let missing = said(&[&name])?;
    assert!(missing.starts_with(&format!("{name}: cannot be read: No such file")), "{missing}");
    fs::write(&file, b"[serve]\n# caf\xe9\n")?;
    assert!(said(&[&name])?.starts_with(&format!("{name}:2: is not UTF-8")));
    fs::write(&file, vec![b'#'; (1 << 20) + 1])?;
    assert!(said(&[&name])?.contains("is longer than 1048576 bytes"));
    Ok(())
}

/// A path that a tenant's user may not reach is a warning, as a service may see other files. So are tenants
/// that share a uid.
#[test]
fn unreachable_paths_and_shared_uids_are_warnings() -> Result<()> {
    let session = Session::new()?;
    let closed = session.path("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    fs::copy("/bin/true", closed.join("program"))?;
    let command = closed.join("program").display().to_string();
    let more = format!("user = \"nobody\"\ndirectory = {:?}", closed.display());
    let file = session.path("reach.toml");
    fs::write(&file, tenant("one", &[&command], &more) + &tenant("two", &["true"], "user = \"nobody\""))?;
    let name = file.to_string_lossy();
    let output = check(&session, &[&name, "--json"])?;
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let warnings = verdict["warnings"].as_array().into_iter().flatten();
    let keys: Vec<_> = warnings.filter_map(|warning| warning["key"].as_str()).collect();
    assert_eq!(
        (output.status.code(), keys),
        (Some(0), vec!["tenant.command", "tenant.user", "tenant.directory"]),
        "{verdict:#}"
    );
    let said = String::from_utf8(check(&session, &[&name])?.stderr)?;
    assert!(
        said.contains(": tenant.command: warning: the user nobody may not enter the directory"),
        "{said}"
    );
    Ok(())
}
