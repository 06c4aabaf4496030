use super::*;
use crate::record::{CmpSize, record_cmp_id, record_edge_id};
use kcov_proto::abi::TraceMode;
use kcov_proto::device::ArenaId;
use kcov_proto::sync::Ordering;
use std::cell::RefCell;

const HANDLE: u64 = 0x42;

/// A host with one instance of 512 words.
struct OneInstance {
    target: RemoteTarget,
    /// Counts of the sections that were appended.
    appended: RefCell<Vec<u64>>,
    unbuffered: Cell<u32>,
}

impl Host for OneInstance {
    fn target(&self, handle: u64) -> Option<RemoteTarget> {
        (handle == HANDLE).then_some(self.target)
    }

    fn append(&self, target: &RemoteTarget, records: &Area<'_>) {
        assert_eq!(*target, self.target);
        self.appended.borrow_mut().push(records.count());
    }

    fn unbuffered(&self) {
        self.unbuffered.set(self.unbuffered.get() + 1);
    }
}

fn host(mode: TraceMode, area_size: u32) -> Rc<OneInstance> {
    let arena = ArenaId { index: 3, generation: 1 };
    let target = RemoteTarget { arena, mode, words: 512, area_size, sequence: 9 };
    let host = Rc::new(OneInstance { target, appended: RefCell::default(), unbuffered: Cell::default() });
    install(host.clone());
    host
}

fn points(number: u64) {
    (0..number).for_each(record_edge_id);
}

#[test]
fn a_section_keeps_its_records_until_it_stops() {
    let host = host(TraceMode::Pc, 64);
    let section = remote_start(HANDLE);
    section.run(|| points(3));
    points(5);
    section.run(|| points(2));
    assert!(host.appended.borrow().is_empty());
    section.stop();
    assert_eq!(*host.appended.borrow(), [5]);
}

#[test]
fn the_buffer_has_the_size_that_the_client_asked_for() {
    for (area_size, expected) in [(0, None), (1, None), (2, Some(1)), (11, Some(10)), (5000, Some(515))] {
        let host = host(TraceMode::Pc, area_size);
        remote_start(HANDLE).run(|| points(1000));
        assert_eq!(host.appended.borrow().first().copied(), expected, "{area_size}");
        assert_eq!(host.unbuffered.get(), 0);
    }
    let host = host(TraceMode::Pc, u32::MAX);
    let section = remote_start(HANDLE);
    assert!(!section.is_collecting());
    assert_eq!(host.unbuffered.get(), 1);
    let softirq = remote_start_softirq(HANDLE);
    softirq.run(|| points(50));
    softirq.stop();
    assert_eq!(*host.appended.borrow(), [50]);
}

#[test]
fn comparisons_need_four_words_each() {
    let host = host(TraceMode::Cmp, 10);
    remote_start(HANDLE).run(|| (0..9).for_each(|id| record_cmp_id(id, CmpSize::Eight, false, 1, 2)));
    assert_eq!(*host.appended.borrow(), [2]);
}

#[test]
fn sections_do_not_nest_but_a_softirq_may_interrupt() {
    let host = host(TraceMode::Pc, 64);
    let outer = remote_start(HANDLE);
    outer.run(|| {
        points(1);
        let inner = remote_start(HANDLE);
        inner.run(|| points(2));
        inner.stop();
        let softirq = remote_start_softirq(HANDLE);
        softirq.run(|| {
            points(10);
            remote_start_softirq(HANDLE).run(|| points(20));
        });
        softirq.stop();
        remote_start_softirq(0x43).run(|| points(100));
        points(4);
    });
    outer.stop();
    assert_eq!(*host.appended.borrow(), [30, 7]);
}

#[test]
fn a_section_puts_the_recording_of_the_call_aside() {
    let _host = host(TraceMode::Pc, 64);
    let words: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    Scope::enter(Area::new(&words).unwrap(), TraceMode::Pc, |_| {
        points(1);
        remote_start(HANDLE).run(|| points(20));
        remote_start(0x43).run(|| points(20));
        points(2);
    });
    assert_eq!(words[0].load(Ordering::Relaxed), 3);
}

#[test]
fn without_a_host_the_code_runs_and_records_nothing() {
    let section = remote_start(HANDLE);
    assert!(!section.is_collecting());
    assert_eq!(section.run(|| 7), 7);
}
