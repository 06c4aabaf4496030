//! The journal of a worker: appended events are read back, and malformed contents are harmless.
#![cfg(not(loom))]

use kcov_proto::device::ArenaId;
use kcov_proto::journal::{self, Event, Journal, JournalWriter, LOG, WORDS, parse};
use kcov_proto::sync::{AtomicU64, Ordering};
use proptest::collection::vec;
use proptest::prelude::*;

fn file() -> impl Strategy<Value = ArenaId> {
    (any::<u32>(), any::<u32>()).prop_map(|(index, generation)| ArenaId { index, generation })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<u32>(), any::<u32>(), any::<i32>(), any::<[u64; 6]>())
            .prop_map(|(tid, abi, number, args)| Event::Call { tid, abi, number, args }),
        (file(), any::<u16>(), any::<u32>()).prop_map(|(file, device, flags)| Event::Open {
            file,
            device,
            flags
        }),
        (file(), any::<u32>(), any::<u64>()).prop_map(|(file, request, arg)| Event::Ioctl {
            file,
            request,
            arg
        }),
        file().prop_map(|file| Event::Closed { file }),
        (any::<u64>(), vec(any::<u8>(), 0..300)).prop_map(|(address, bytes)| Event::Read { address, bytes }),
        (any::<u64>(), any::<u64>()).prop_map(|(address, length)| Event::NoRead { address, length }),
        (any::<u64>(), any::<u64>()).prop_map(|(address, length)| Event::NoWrite { address, length }),
    ]
}

fn memory() -> Vec<AtomicU64> {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

fn read(memory: &[AtomicU64]) -> Journal {
    parse(&memory.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn appended_events_are_read_back(events in vec(event(), 0..50)) {
        let memory = memory();
        let writer = JournalWriter::new(&memory[..]).expect("long enough");
        events.iter().for_each(|event| writer.append(event));
        let journal = read(&memory);
        prop_assert_eq!(&journal.events, &events);
        prop_assert!(!journal.truncated && !journal.reads_missing);
        prop_assert_eq!(journal.active, events.iter().any(Event::begins));
    }

    #[test]
    fn both_ways_to_append_a_read_agree(address: u64, bytes in vec(any::<u8>(), 0..300), times in 1..4_usize) {
        let (by_event, by_bytes) = (memory(), memory());
        for _ in 0..times {
            let event = Event::Read { address, bytes: bytes.clone() };
            JournalWriter::new(&by_event[..]).expect("long enough").append(&event);
            JournalWriter::new(&by_bytes[..]).expect("long enough").append_read(address, &bytes);
        }
        let words = |memory: &[AtomicU64]| memory.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
        prop_assert_eq!(words(&by_event), words(&by_bytes));
    }

    #[test]
    fn a_truncated_log_ends_with_the_last_events(events in vec(event(), 5..15), rounds in 1..800_usize) {
        let memory = memory();
        let writer = JournalWriter::new(&memory[..]).expect("long enough");
        for _ in 0..rounds {
            events.iter().for_each(|event| writer.append(event));
        }
        let journal = read(&memory);
        let whole: Vec<&Event> = (0..rounds).flat_map(|_| &events).collect();
        if !journal.truncated {
            return Ok(());
        }
        // Except for opens of files that are still open, which come first.
        let kept = journal.events.iter().rev().zip(whole.iter().rev()).take_while(|(a, b)| a == *b).count();
        let (opens, _) = journal.events.split_at(journal.events.len() - kept);
        let all_open = opens.iter().all(|event| matches!(event, Event::Open { .. }));
        prop_assert!(all_open);
        prop_assert!(kept > 0);
    }

    #[test]
    fn encoded_events_decode_to_themselves(events in vec(event(), 0..50)) {
        let bytes = journal::encode(&events).expect("few");
        prop_assert_eq!(journal::decode(&bytes).expect("events"), events.clone());
        prop_assert!(journal::decode(&[&bytes[..], &[0]].concat()).is_err());
        let text = serde_json::to_string(&events).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Vec<Event>>(&text).expect("events"), events);
    }

    #[test]
    fn decoding_a_file_never_panics(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(events) = journal::decode(&bytes) {
            prop_assert!(events.len() <= bytes.len());
        }
    }

    #[test]
    fn parsing_noise_never_panics(mut words in vec(any::<u64>(), 0..400), used in 0..600_u64, kind in 0..9_u64, length in 0..70_u64) {
        if let Some(first) = words.first_mut() {
            *first = used;
        }
        if let Some(head) = words.get_mut(LOG) {
            *head = kind | length << 8;
        }
        let journal = parse(&words);
        prop_assert!(journal.stack.len() <= journal::MAX_FRAMES);
    }
}

fn ioctl(index: u32) -> Event {
    Event::Ioctl { file: ArenaId { index, generation: 0 }, request: 1, arg: 2 }
}

#[test]
fn a_full_journal_drops_its_older_half_but_keeps_open_files() {
    let memory = memory();
    let writer = JournalWriter::new(&memory[..]).expect("long enough");
    let open = |index| Event::Open { file: ArenaId { index, generation: 0 }, device: 0, flags: 2 };
    writer.append(&open(1));
    writer.append(&open(2));
    writer.append(&Event::Closed { file: ArenaId { index: 1, generation: 0 } });
    // Each event takes four words.
    for _ in 0..WORDS / 3 {
        writer.append(&ioctl(2));
    }
    let journal = read(&memory);
    assert!(journal.truncated && !journal.reads_missing);
    assert_eq!(journal.events[0], open(2));
    assert!(journal.events.len() > WORDS / 10, "{}", journal.events.len());
    assert!(journal.events[1..].iter().all(|event| *event == ioctl(2)));
}

#[test]
fn reads_displace_earlier_events_but_not_the_active_one() {
    let memory = memory();
    let writer = JournalWriter::new(&memory[..]).expect("long enough");
    (0..10).for_each(|_| writer.append(&ioctl(1)));
    writer.append(&ioctl(2));
    for _ in 0..10 {
        writer.append_read(1, &[7; 60_000]);
    }
    let journal = read(&memory);
    assert!(journal.truncated && journal.reads_missing && journal.active);
    assert_eq!(journal.events[0], ioctl(2));
    assert_eq!(journal.events.len(), 1 + 4);
    writer.finished();
    writer.append(&Event::NoRead { address: 1, length: 1 });
    assert!(!read(&memory).active);
}

#[test]
fn a_long_read_keeps_its_beginning() {
    let memory = memory();
    let writer = JournalWriter::new(&memory[..]).expect("long enough");
    writer.append(&Event::Read { address: 1, bytes: vec![7; journal::MAX_READ_BYTES + 5] });
    writer.append_read(2, &vec![8; journal::MAX_READ_BYTES + 9]);
    let kept = |address, byte| Event::Read { address, bytes: vec![byte; journal::MAX_READ_BYTES] };
    assert_eq!(read(&memory).events, [kept(1, 7), kept(2, 8)]);
}
