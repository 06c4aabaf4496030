//! Memory that other processes write while it is read: the segment of a broker, the journal of a worker, the
//! counters of a worker. The first byte selects the kind.
#![no_main]

use kcov_fuzz::words;
use kcov_proto::journal::{self, MAX_FRAMES};
use kcov_proto::sync::AtomicU64;
use kcov_proto::tally::Tally;
use kcov_proto::view;
use libfuzzer_sys::fuzz_target;

fn segment(words: Vec<u64>) {
    let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
    let Ok(view) = view::read(&mut &words[..]) else { return };
    let shown = view.name.to_string();
    assert!(shown.chars().all(|c| !c.is_control()), "{shown:?}");
}

fn journal(words: Vec<u64>) {
    let parsed = journal::parse(&words);
    assert!(parsed.stack.len() <= MAX_FRAMES && parsed.events.len() <= words.len(), "{parsed:?}");
}

fn tally(words: Vec<u64>) {
    let tally = Tally::from_words(&words);
    assert_eq!(Tally::from_words(&tally.words().collect::<Vec<_>>()), tally);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if let Some(check) = [segment, journal, tally].get(usize::from(*kind)) {
        check(words(bytes));
    }
});
