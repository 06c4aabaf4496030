//! Attacker: the user of a tenant of a service, who owns the folder of its output
//! Tries: to make the path of the output a second name of another file
//! Wins: a file of root to which the service appends
//! Must: the tenant does not start, and the file is as before

use anyhow::Result;
use kcov_tests::service::{Service, tenant};

#[test]
fn refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (precious, output) = (folder.path().join("precious"), folder.path().join("output"));
    std::fs::write(&precious, "text")?;
    std::fs::hard_link(&precious, &output)?;
    let keys = format!("output = {:?}\nrestart = \"never\"", output.display());
    let service = Service::start(&tenant("one", &["echo", "more"], &keys))?;
    let one = service.wait("one", "failed", |one| one.state == "failed")?;
    assert!(one.message.is_some_and(|said| said.contains("output")));
    assert_eq!(std::fs::read_to_string(&precious)?, "text");
    service.stop()?;
    Ok(())
}
