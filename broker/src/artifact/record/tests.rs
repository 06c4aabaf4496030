//! Round trips, reports, and damaged input.

use super::*;
use kcov_proto::device::ArenaId;
use proptest::collection::vec;
use proptest::prelude::*;

fn file(index: u32) -> ArenaId {
    ArenaId { index, generation: 0 }
}

fn artifact() -> Artifact {
    let binary = |path: &str| Binary { path: path.to_owned(), build: Some("00ff".to_owned()) };
    Artifact {
        version: VERSION,
        end: End::Signal(11),
        call: "ioctl".to_owned(),
        tid: 7,
        worker: binary("/worker"),
        handlers: vec![Library { binary: binary("/lib.so"), config: Some("x".to_owned()) }],
        preload: None,
        devices: vec!["/dev/one".to_owned()],
        fault: Some(8),
        forbidden: Some("openat".to_owned()),
        stack: vec![
            Frame { module: Some("/libc.so".into()), function: Some("memcpy".into()), ..Frame::default() },
            Frame {
                module: Some("/lib.so".into()),
                file: Some("a.c".into()),
                line: Some(3),
                ..Frame::default()
            },
        ],
        truncated: true,
        reads_missing: false,
        events: vec![
            Event::Open { file: file(1), device: 0, flags: 2 },
            Event::Ioctl { file: file(1), request: 0x7001, arg: 9 },
            Event::Read { address: 9, bytes: vec![0xab, 0xcd] },
        ],
    }
}

#[test]
fn artifacts_survive_a_round_trip() {
    let text = serde_json::to_string(&artifact()).expect("JSON");
    assert!(text.contains(r#""bytes":"abcd""#), "{text}");
    assert_eq!(Artifact::parse(&text).expect("an artifact"), artifact());
}

#[test]
fn the_report_has_call_and_location() {
    let artifact = artifact();
    assert_eq!(artifact.last_call().as_deref(), Some("ioctl(/dev/one, 0x7001, 0x9)"));
    assert_eq!(artifact.place().as_deref(), Some("0x0 at a.c:3:0"));
    let report = artifact.report("boom");
    for part in [
        "SIGSEGV in ioctl",
        "fault at 0x8",
        "not allowed by the jail: openat\n",
        "a.c:3",
        "abcd",
        "older events are missing",
        "boom",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn invalid_artifacts_are_refused_with_a_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = |folder: &Path| format!("{:#}", Artifact::load(folder).expect_err("none"));
    assert!(said(directory.path()).contains("is not an artifact: cannot read its artifact.json"));
    assert!(said(Path::new("/nowhere")).contains("No such file"));
    let text = serde_json::to_string(&Artifact { version: 9, ..artifact() }).expect("JSON");
    std::fs::write(directory.path().join(FILE), text).expect("written");
    assert!(said(directory.path()).contains("unsupported version 9: this program reads version 1"));
    std::fs::write(directory.path().join(FILE), [0xff, 0xfe]).expect("written");
    assert!(said(directory.path()).contains("is not an artifact"));
}

proptest! {
    #[test]
    fn damaged_artifacts_are_read_or_refused(at in any::<prop::sample::Index>(), with in vec(any::<u8>(), 0..4)) {
        let mut bytes = serde_json::to_vec(&artifact()).expect("JSON");
        let at = at.index(bytes.len());
        bytes.splice(at..(at + 2).min(bytes.len()), with);
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(artifact) = Artifact::parse(&text)
        {
            let _ = (artifact.report(""), artifact.place(), artifact.last_call());
        }
    }

    #[test]
    fn noise_is_refused(text in "\\PC{0,200}") {
        prop_assert!(Artifact::parse(&text).is_err());
    }
}
