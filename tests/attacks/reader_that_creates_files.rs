//! Attacker: a worker that has taken over its reader
//! Tries: to change the flags of openat2, which are in memory, so that it creates a file
//! Wins: files of root anywhere
//! Must: the filter compares the address of the flags, which are in a page that is read-only and sealed

use crate::kit::reader;
use anyhow::Result;

#[test]
fn the_flags_are_sealed() -> Result<()> {
    // Linux 6.10 and newer can seal a page; /proc shows that from 6.14 on.
    let is_new = release()? >= (6, 14);
    for rootless in [false, true] {
        let map =
            reader(rootless, |reader| std::fs::read_to_string(format!("/proc/{}/smaps", reader.0)).ok())?;
        let (_, page) = map.split_once("1000000000-").ok_or_else(|| anyhow::anyhow!("no page"))?;
        assert!(page.starts_with("1000010000 r--p"), "{page}");
        let flags = page.lines().find(|line| line.starts_with("VmFlags:")).unwrap_or_default();
        assert!(!is_new || flags.contains(" sl"), "{flags}");
    }
    Ok(())
}

/// The first two numbers of the kernel's release.
fn release() -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = text.split('.').map_while(|number| number.parse().ok());
    Ok((numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()))
}
