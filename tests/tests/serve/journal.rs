//! Output of tenants in the journal, with a test socket in place of journald's.

use anyhow::{Context, Result};
use kcov_tests::Session;
use kcov_tests::service::{Service, tenant};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Puts the socket `$JOURNAL` in place of journald's for the command that follows.
const PLACED: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
    ln -s \"$JOURNAL\" /run/systemd/journal/stdout && exec \"$@\"";

/// Each tenant has its own stream with its name; the service keeps the stream that it inherited.
#[test]
fn each_tenant_has_its_own_journal_stream() -> Result<()> {
    let session = Session::new()?;
    let socket = session.path("journal");
    let listener = UnixListener::bind(&socket)?;
    // The service's standard error.
    let log = File::create(session.path("log"))?.metadata()?;
    let journal = format!("{}:{}", log.dev(), log.ino());
    let prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PLACED, "sh"];
    let variables = [("JOURNAL", socket), ("JOURNAL_STREAM", journal.into())];
    let say = |name: &str| {
        tenant(name, &["bash", "-c", &format!("echo out of {name}; echo err of {name} >&2")], "")
    };
    let tenants = say("one") + &say("two");
    let service = Service::start_in(session, &tenants, &prefix.map(Into::into), &variables)?;
    for name in ["one", "two"] {
        service.wait_state(name, "stopped")?;
    }
    let mut said = BTreeMap::new();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (name, rest) = text.split_once('\n').context("a header")?;
        said.insert(name.to_owned(), rest.to_owned());
    }
    for name in ["one", "two"] {
        let rest = said.get(name).with_context(|| format!("{said:?}"))?;
        assert_eq!(rest, &format!("\n6\n0\n0\n0\n0\nout of {name}\nerr of {name}\n"));
    }
    let log = fs::read_to_string(service.session.path("log"))?;
    assert!(log.contains("tenant one runs") && !log.contains("out of one"), "{log}");
    service.stop()?;
    Ok(())
}
