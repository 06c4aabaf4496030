//! Attacker: a worker that has taken over its reader
//! Tries: to use capabilities that a reader does not need
//! Wins: signals to any process, or files of any user
//! Must: as root it has CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, as an ordinary user none

use crate::kit::reader;
use anyhow::Result;

#[test]
fn has_only_two() -> Result<()> {
    assert_eq!(reader(false, |reader| reader.status()?.remove("CapEff"))?, "0000000000080004");
    assert_eq!(reader(true, |reader| reader.status()?.remove("CapEff"))?, "0000000000000000");
    Ok(())
}
