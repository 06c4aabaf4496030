//! The recording API on an area in ordinary memory.

use super::*;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::Area;
use kcov_proto::sync::AtomicU64;

const PC: u64 = 0xffff_ffff_a000_0010;

fn words(number: usize) -> Vec<AtomicU64> {
    (0..number).map(|_| AtomicU64::new(0)).collect()
}

/// The PCs that `body` records.
fn pcs(body: impl FnOnce()) -> Vec<u64> {
    let words = words(64);
    let area = Area::new(&words).unwrap();
    let ((), recorded) = Scope::enter(area, TraceMode::Pc, |_| body());
    assert_eq!(recorded, Recorded { stored: area.count(), lost: 0, suppressed: 0 });
    area.pcs()
}

/// The comparisons that `body` records.
fn cmps(body: impl FnOnce()) -> Vec<CmpRecord> {
    let words = words(64);
    let area = Area::new(&words).unwrap();
    let ((), recorded) = Scope::enter(area, TraceMode::Cmp, |_| body());
    assert_eq!(recorded, Recorded { stored: area.count(), lost: 0, suppressed: 0 });
    area.cmps().into_iter().map(|words| CmpRecord::from_words(words).unwrap()).collect()
}

#[test]
fn without_an_area_nothing_is_recorded() {
    assert_eq!(record_pc(PC), Ok(()));
    assert_eq!(record_cmp(4, true, 1, 2, PC), Ok(()));
    kcov_edge!();
    kcov_cmp!(1, false, 1, 2);
}

#[test]
fn invalid_arguments_are_refused_with_and_without_an_area() {
    let refused = || {
        for pc in [0, 1, TEXT_START - 1, TEXT_END + 1, u64::MAX] {
            assert_eq!(record_pc(pc), Err(Errno::EINVAL));
            assert_eq!(record_cmp(4, true, 1, 2, pc), Err(Errno::EINVAL));
        }
        for size in [0, 3, 5, 16, u64::MAX] {
            assert_eq!(record_cmp(size, true, 1, 2, PC), Err(Errno::EINVAL));
        }
    };
    refused();
    assert!(pcs(refused).is_empty() && cmps(refused).is_empty());
    assert!([TEXT_START, TEXT_END].map(record_pc).iter().all(Result::is_ok));
}

#[cfg(feature = "record")]
mod on {
    use super::*;
    use kcov_proto::cover_map::{self, CoverMap};
    use kcov_proto::site::{ID_BASE, SITE_BASE, SITE_END, SPACING, index_of_pc};

    #[test]
    fn a_mode_records_only_its_own_kind() {
        let both = || {
            record_pc(PC).unwrap();
            record_cmp(2, true, 7, 9, PC).unwrap();
        };
        assert_eq!(pcs(both), [PC]);
        let kind = CmpKind { size: CmpSize::Two, constant: true };
        assert_eq!(cmps(both), [CmpRecord { kind, arg1: 7, arg2: 9, pc: PC }]);
    }

    #[test]
    fn operands_are_truncated_to_their_size() {
        let found = cmps(|| {
            for size in [1, 2, 4, 8] {
                record_cmp(size, false, u64::MAX, 0x1122_3344_5566_7788, PC).unwrap();
            }
            kcov_cmp!(4, true, -1_i32, -2_i64);
        });
        let operands: Vec<(u64, u64)> = found.iter().map(|record| (record.arg1, record.arg2)).collect();
        let expected = [
            (0xff, 0x88),
            (0xffff, 0x7788),
            (0xffff_ffff, 0x5566_7788),
            (u64::MAX, 0x1122_3344_5566_7788),
            (0xffff_ffff, 0xffff_fffe),
        ];
        assert_eq!(operands, expected);
    }

    #[test]
    fn each_site_has_its_own_pc_in_the_text_range() {
        let twice = || {
            for _ in 0..2 {
                kcov_edge!();
                kcov_edge_site!("named");
            }
        };
        let found = pcs(twice);
        assert_eq!(found[..2], found[2..]);
        assert!(found[0].abs_diff(found[1]) >= SPACING);
        assert!(found.iter().all(|pc| (SITE_BASE..SITE_END).contains(pc) && index_of_pc(*pc).is_some()));
        assert_eq!(pcs(twice), found);
    }

    #[test]
    fn explicit_ids_have_their_own_pcs() {
        let found = pcs(|| {
            kcov_edge!(0);
            kcov_edge!(1);
            kcov_edge!(kcov_hash64("state"));
        });
        assert_eq!(found[..2], [ID_BASE + 8, ID_BASE + 24]);
        assert_eq!(found[2], kcov_proto::site::pc_of_id(kcov_hash64("state")));
    }

    #[test]
    fn comparisons_have_the_pc_of_their_site_or_the_given_one() {
        let found = cmps(|| {
            kcov_cmp!(8, true, 5_u8, 6_u16);
            kcov_cmp!(1, false, 1, 2, PC);
            kcov_cmp!(1, false, 1, 2, 77);
            kcov_cmp_site!("named", 2, true, 3, 4);
        });
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].pc, PC);
        assert!([&found[0], &found[2]].iter().all(|record| index_of_pc(record.pc).is_some()));
        assert_ne!(found[0].pc, found[2].pc);
        assert_eq!((found[0].kind.word(), found[2].kind.word()), (7, 3));
    }

    #[test]
    fn scopes_nest_and_have_their_own_counts() {
        let (outer_words, inner_words) = (words(8), words(3));
        let (outer, inner) = (Area::new(&outer_words).unwrap(), Area::new(&inner_words).unwrap());
        let ((), recorded) = Scope::enter(outer, TraceMode::Pc, |scope| {
            record_pc(PC).unwrap();
            let ((), recorded) = Scope::enter(inner, TraceMode::Pc, |_| {
                (1..=5).for_each(|n| record_pc(PC + 8 * n).unwrap());
            });
            assert_eq!(recorded, Recorded { stored: 2, lost: 3, suppressed: 0 });
            let ((), recorded) = Scope::enter(inner, TraceMode::Cmp, |_| record_pc(PC).unwrap());
            assert_eq!(recorded, Recorded::default());
            assert_eq!(scope.recorded(), Recorded { stored: 1, lost: 0, suppressed: 0 });
            record_pc(PC + 80).unwrap();
        });
        assert_eq!(recorded, Recorded { stored: 2, lost: 0, suppressed: 0 });
        assert_eq!(outer.pcs(), [PC, PC + 80]);
        assert_eq!(inner.pcs(), [PC + 8, PC + 16]);
        record_pc(PC).unwrap();
        assert_eq!(outer.count(), 2);
    }

    #[test]
    fn a_panic_disables_recording() {
        let words = words(8);
        let area = Area::new(&words).unwrap();
        let panicked = std::panic::catch_unwind(|| {
            Scope::enter(area, TraceMode::Pc, |_| -> () { std::panic::resume_unwind(Box::new(())) })
        });
        assert!(panicked.is_err());
        record_pc(PC).unwrap();
        assert_eq!(area.count(), 0);
    }

    #[test]
    fn other_threads_do_not_record() {
        let found = pcs(|| {
            std::thread::scope(|threads| {
                threads.spawn(|| record_pc(PC).unwrap());
            });
        });
        assert!(found.is_empty());
    }

    /// Which of [`PC`] and the four PCs after it `body` marks.
    fn marked(body: impl FnOnce()) -> [bool; 5] {
        // A memfd, because a map is too large for the stack of a test; only the touched page exists.
        let file = nix::sys::memfd::memfd_create(c"map", nix::sys::memfd::MFdFlags::empty()).unwrap();
        nix::unistd::ftruncate(&file, cover_map::BYTES as i64).unwrap();
        let words = crate::sys::shared::SharedWords::map(&file, cover_map::BYTES / 8, true).unwrap();
        let map = CoverMap::new(words.bytes().try_into().unwrap());
        Scope::cover(map, body);
        std::array::from_fn(|at| map.is_marked(PC + 8 * at as u64))
    }

    #[test]
    fn a_reached_pc_is_marked_even_if_its_record_is_lost() {
        let small = words(3);
        let area = Area::new(&small).unwrap();
        let found = marked(|| {
            record_pc(PC).unwrap();
            let ((), recorded) = Scope::enter(area, TraceMode::Pc, |_| {
                // In order: marked before, stored; new, stored; new, lost; marked before, lost.
                [PC, PC + 8, PC + 16, PC].into_iter().for_each(|pc| record_pc(pc).unwrap());
            });
            assert_eq!(recorded, Recorded { stored: 2, lost: 2, suppressed: 0 });
            assert_eq!(area.pcs(), [PC, PC + 8]);
            let ((), recorded) = Scope::enter(area, TraceMode::Cmp, |_| record_pc(PC + 24).unwrap());
            assert_eq!(recorded, Recorded::default());
        });
        assert_eq!(found, [true, true, true, true, false]);
        record_pc(PC).unwrap();
        assert_eq!(marked(|| ()), [false; 5], "a new map has no marks");
    }

    #[test]
    fn marking_does_not_change_the_records() {
        for count in [0, 1, 61, 62, 63, 64, u64::MAX - 1, u64::MAX] {
            let run = || {
                let words = words(64);
                words[0].store(count, kcov_proto::sync::Ordering::Relaxed);
                let area = Area::new(&words).unwrap();
                let append = || (0..4).for_each(|at| record_pc(PC + 8 * (at % 2)).unwrap());
                let ((), recorded) = Scope::enter(area, TraceMode::Pc, |_| append());
                let words: Vec<u64> =
                    words.iter().map(|word| word.load(kcov_proto::sync::Ordering::Relaxed)).collect();
                (recorded, words)
            };
            let plain = run();
            let mut covered = None;
            marked(|| covered = Some(run()));
            assert_eq!(covered, Some(plain), "from {count:#x}");
        }
    }
}

#[cfg(feature = "record")]
mod special {
    use super::*;
    use crate::sys::sancov::points;
    use kcov_proto::site::pc_of_index;
    use kcov_proto::sync::Ordering::Relaxed;
    use kcov_proto::unique::Trace;

    /// The PC of a site.
    fn site(number: u64) -> u64 {
        assert!(number < crate::sys::site::sites());
        pc_of_index(number)
    }

    /// A bitmap that has bits for these points, in words.
    fn bitmap_for(pcs: &[u64]) -> usize {
        points::number();
        let indices = pcs.iter().map(|pc| points::index_of(*pc).expect("an index"));
        indices.max().expect("a point") as usize / 64 + 1
    }

    fn record(pcs: &[u64]) {
        pcs.iter().for_each(|pc| record_pc(*pc).unwrap());
    }

    #[test]
    fn a_bitmap_suppresses_points_until_it_is_reset() {
        let pcs = [site(3), site(63), site(3)];
        let bitmap = bitmap_for(&pcs);
        for shared in [false, true] {
            let words = words(bitmap + 20);
            let trace = Trace::new(&words, bitmap as u64, shared).unwrap();
            let bits = || trace.bitmap.iter().map(|word| word.load(Relaxed).count_ones()).sum::<u32>();
            let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |_| record(&pcs));
            assert_eq!(recorded, Recorded { stored: 2, lost: 0, suppressed: 1 });
            assert_eq!((trace.area.pcs(), bits()), (pcs[..2].to_vec(), 2));
            trace.area.reset();
            let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |scope| {
                record(&pcs);
                assert!(!scope.is_empty());
            });
            assert_eq!(recorded, Recorded { stored: 0, lost: 0, suppressed: 3 });
            trace.reset();
            assert_eq!((trace.area.count(), bits()), (0, 0));
            let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |_| record(&pcs));
            assert_eq!(recorded, Recorded { stored: 2, lost: 0, suppressed: 1 });
        }
    }

    #[test]
    fn points_past_the_bitmap_and_pcs_beside_points_are_recorded_each_time() {
        let bitmap = bitmap_for(&[site(3)]);
        let words = words(bitmap + 20);
        let trace = Trace::new(&words, bitmap as u64, false).unwrap();
        let pcs = [site(3) + 1, site(3) + 1, PC, PC, site(3 + 64), site(3 + 64)];
        let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |_| record(&pcs));
        assert_eq!(recorded, Recorded { stored: 6, lost: 0, suppressed: 0 });
        assert_eq!(trace.area.pcs(), pcs);
        assert!(trace.bitmap.iter().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn a_point_that_found_no_room_is_recorded_later() {
        let bitmap = bitmap_for(&[site(1), site(2)]);
        for shared in [false, true] {
            let words = words(bitmap + 2);
            let trace = Trace::new(&words, bitmap as u64, shared).unwrap();
            let pcs = [site(1), site(2), site(2), site(1)];
            let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |_| record(&pcs));
            assert_eq!(recorded, Recorded { stored: 1, lost: 2, suppressed: 1 });
            trace.area.reset();
            Scope::enter(trace, TraceMode::Pc, |_| record(&pcs[..2]));
            assert_eq!(trace.area.pcs(), [site(2)]);
        }
    }

    #[test]
    fn explicit_ids_have_indices_behind_the_others() {
        let index = |id| points::index_of(kcov_proto::site::pc_of_id(id));
        points::number();
        let first = index(0).unwrap();
        assert!(first > crate::sys::site::sites() && first < 1 << 20, "{first}");
        assert_eq!(index(7), Some(first + 7));
        assert_eq!(points::index_of(kcov_proto::site::pc_of_id(7) + 1), None);
    }

    #[test]
    fn several_writers_lose_nothing_to_each_other() {
        const EACH: u64 = 20_000;
        let words = words(1 + 4 * EACH as usize);
        let trace = Trace::new(&words, 0, true).unwrap();
        let write = |first: u64| {
            let pcs: Vec<u64> = (0..EACH).map(|at| TEXT_START + 8 * (first + at)).collect();
            let ((), recorded) = Scope::enter(trace, TraceMode::Pc, |_| record(&pcs));
            assert_eq!(recorded, Recorded { stored: EACH, lost: 0, suppressed: 0 });
        };
        std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || write(thread * EACH)))));
        let mut pcs = trace.area.pcs();
        pcs.sort_unstable();
        assert!(pcs.iter().copied().eq((0..4 * EACH).map(|at| TEXT_START + 8 * at)));
    }
}

#[cfg(not(feature = "record"))]
#[test]
fn without_the_feature_nothing_is_recorded_or_evaluated() {
    let evaluated = || -> u64 { panic!("evaluated") };
    let all = || {
        record_pc(PC).unwrap();
        kcov_edge!();
        kcov_edge!(evaluated());
        kcov_edge_site!("named");
        kcov_cmp!(4, true, evaluated(), 2);
        kcov_cmp!(4, true, 1, 2, evaluated());
        kcov_cmp_site!("named", 4, true, 1, evaluated());
    };
    assert!(pcs(all).is_empty() && cmps(all).is_empty());
}
