//! Files from anywhere, and structures that a tenant makes the broker copy: artifacts, journals in them,
//! entries of a binary's site table, `struct kcov_remote_arg`. The first byte selects the kind.
#![no_main]

use kcov_broker::artifact::record::Artifact;
use kcov_proto::abi::{REMOTE_MAX_HANDLES, RemoteArg};
use kcov_proto::journal;
use kcov_proto::site::{ParsedSite, Site};
use libfuzzer_sys::fuzz_target;

fn artifact(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Artifact::parse(text);
    }
}

fn events(bytes: &[u8]) {
    let Ok(events) = journal::decode(bytes) else { return };
    let again = journal::encode(&events).expect("decoded events are within the bounds");
    assert_eq!(journal::decode(&again).expect("an encoded journal decodes"), events);
}

fn site(bytes: &[u8]) {
    for entry in bytes.windows(Site::BYTES).take(64).filter_map(|entry| entry.first_chunk()) {
        let _ = ParsedSite::parse(entry);
    }
}

fn remote_arg(bytes: &[u8]) {
    let Some((expected, bytes)) = bytes.split_first_chunk() else { return };
    if let Ok(arg) = RemoteArg::decode(bytes, u32::from_ne_bytes(*expected)) {
        assert!(arg.handles.len() <= REMOTE_MAX_HANDLES as usize, "{arg:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if let Some(check) = [artifact, events, site, remote_arg].get(usize::from(*kind)) {
        check(bytes);
    }
});
