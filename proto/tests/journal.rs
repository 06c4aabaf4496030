//! The journal of a worker: what was appended is read, and no bytes are believed.
#![cfg(not(loom))]

use kcov_proto::device::ArenaId;
use kcov_proto::journal::{self, Event, Journal, LOG, WORDS, Writer, parse};
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
    fn what_was_appended_is_read(events in vec(event(), 0..50)) {
        let memory = memory();
        let writer = Writer::new(&memory[..]).expect("long enough");
        events.iter().for_each(|event| writer.append(event));
        let journal = read(&memory);
        prop_assert_eq!(journal.events, events);
        prop_assert!(!journal.truncated);
    }

    #[test]
    fn noise_is_read_without_a_panic(mut words in vec(any::<u64>(), 0..400), used in 0..600_u64, kind in 0..9_u64, length in 0..70_u64) {
        if let Some(first) = words.first_mut() {
            *first = used;
        }
        if let Some(head) = words.get_mut(LOG) {
            *head = kind | length << 8;
        }
        let journal = parse(&words);
        prop_assert!(journal.stack.len() <= journal::MOST_FRAMES);
    }
}

#[test]
fn a_full_journal_begins_anew_with_what_begins_something() {
    let memory = memory();
    let writer = Writer::new(&memory[..]).expect("long enough");
    let file = ArenaId { index: 1, generation: 0 };
    let read_much = Event::Read { address: 1, bytes: vec![7; 60_000] };
    for _ in 0..10 {
        writer.append(&read_much);
    }
    assert!(!read(&memory).truncated, "a read alone does not displace anything");
    let begins = Event::Ioctl { file, request: 1, arg: 2 };
    // Each takes four words.
    for _ in 0..WORDS / 4 {
        writer.append(&begins);
    }
    let journal = read(&memory);
    assert!(journal.truncated);
    assert!(journal.events.iter().all(|event| *event == begins), "{:?}", journal.events.first());
}

#[test]
fn a_long_read_keeps_its_beginning() {
    let memory = memory();
    let writer = Writer::new(&memory[..]).expect("long enough");
    writer.append(&Event::Read { address: 1, bytes: vec![7; journal::MOST_KEPT + 5] });
    let Some(Event::Read { bytes, .. }) = read(&memory).events.pop() else { panic!("a read") };
    assert_eq!(bytes, vec![7; journal::MOST_KEPT]);
}
