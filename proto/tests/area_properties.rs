//! Appending records, compared with the kernel's arithmetic computed in 128 bits, where nothing wraps by
//! accident.
#![cfg(not(loom))]

use kcov_proto::area::{Appended, Area, CmpKind, CmpRecord, CmpSize};
use kcov_proto::sync::{AtomicU64, Ordering};
use proptest::prelude::*;

/// An area with canary words on both sides, which must not change.
struct Memory(Vec<AtomicU64>);

const CANARY: u64 = 0xdead_beef_0bad_f00d;

impl Memory {
    fn new(words: &[u64]) -> Self {
        let canary = std::iter::repeat_n(CANARY, 8);
        Memory(canary.clone().chain(words.iter().copied()).chain(canary).map(AtomicU64::new).collect())
    }

    fn area(&self) -> Area<'_> {
        Area::new(&self.0[8..self.0.len() - 8]).expect("at least two words")
    }

    fn words(&self) -> Vec<u64> {
        let all: Vec<u64> = self.0.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let (front, rest) = all.split_at(8);
        let (area, back) = rest.split_at(rest.len() - 8);
        assert!(front.iter().chain(back).all(|word| *word == CANARY), "out of bounds");
        area.to_vec()
    }
}

/// `__sanitizer_cov_trace_pc`: position = count + 1 in 64 bits; stores the count first, then the PC.
fn model_pc(area: &mut [u64], pc: u64) -> Appended {
    let position = (u128::from(area[0]) + 1) % (1 << 64);
    if position >= area.len() as u128 {
        return Appended::Lost;
    }
    area[0] = position as u64;
    area[position as usize] = pc;
    Appended::Stored
}

/// `write_comp_data`; the end of the record is computed without overflow.
fn model_cmp(area: &mut [u64], record: CmpRecord) -> Appended {
    let start = 1 + u128::from(area[0]) * 4;
    if start + 4 > area.len() as u128 {
        return Appended::Lost;
    }
    area[start as usize..start as usize + 4].copy_from_slice(&record.words());
    area[0] += 1;
    Appended::Stored
}

#[derive(Clone, Debug)]
enum Step {
    Pc(u64),
    Cmp(CmpRecord),
    Client(u64),
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..80_u64,
        2 => Just(0),
        2 => Just(u64::MAX),
        1 => any::<u64>(),
        1 => (0..64_u32, -2..3_i64).prop_map(|(bit, near)| (1_u64 << bit).wrapping_add_signed(near)),
    ]
}

fn comparison() -> impl Strategy<Value = CmpRecord> {
    (0..8_u64, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(kind, arg1, arg2, pc)| {
        let kind = CmpKind::from_word(kind).expect("0 to 7");
        CmpRecord { kind, arg1, arg2, pc }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u64>().prop_map(Step::Pc),
        comparison().prop_map(Step::Cmp),
        count().prop_map(Step::Client),
    ]
}

proptest! {
    #[test]
    fn steps_agree_with_the_model(
        mut model in prop::collection::vec(any::<u64>(), 2..70),
        first in count(),
        steps in prop::collection::vec(step(), 0..100),
    ) {
        model[0] = first;
        let memory = Memory::new(&model);
        for step in steps {
            match step {
                Step::Pc(pc) => prop_assert_eq!(memory.area().append_pc(pc), model_pc(&mut model, pc)),
                Step::Cmp(record) => {
                    prop_assert_eq!(memory.area().append_cmp(record), model_cmp(&mut model, record));
                }
                Step::Client(value) => {
                    memory.0[8].store(value, Ordering::Relaxed);
                    model[0] = value;
                }
            }
            prop_assert_eq!(&memory.words(), &model);
        }
        let (count, room) = (u128::from(model[0]), model.len() as u128 - 1);
        let pcs = memory.area().pcs();
        prop_assert_eq!(pcs.as_slice(), &model[1..][..count.min(room) as usize]);
        prop_assert_eq!(memory.area().cmps().len() as u128, count.min(room / 4));
    }

    #[test]
    fn type_words_are_0_to_7(word in prop_oneof![0..16_u64, any::<u64>()]) {
        prop_assert_eq!(CmpKind::from_word(word).map(CmpKind::word), (word <= 7).then_some(word));
    }

    #[test]
    fn a_truncated_operand_fits(operand: u64, log2 in 0..4_u64) {
        let size = CmpSize::from_bytes(1 << log2).expect("1, 2, 4 or 8");
        let wide = u128::from(operand) % (1 << (8 * size.bytes()));
        prop_assert_eq!(u128::from(size.truncate(operand)), wide);
    }
}

#[test]
fn type_words_match_the_kernel() {
    let word = |bytes, constant| CmpKind { size: CmpSize::from_bytes(bytes).unwrap(), constant }.word();
    assert_eq!([1, 2, 4, 8].map(|bytes| word(bytes, false)), [0, 2, 4, 6]);
    assert_eq!([1, 2, 4, 8].map(|bytes| word(bytes, true)), [1, 3, 5, 7]);
    assert_eq!([0, 3, 5, 16, u64::MAX].map(CmpSize::from_bytes), [None; 5]);
}

#[test]
fn a_count_of_all_ones_becomes_the_pc() {
    let memory = Memory::new(&[u64::MAX, 1, 2]);
    assert_eq!(memory.area().append_pc(0xffff_ffff_8100_0008), Appended::Stored);
    assert_eq!(memory.words(), [0xffff_ffff_8100_0008, 1, 2]);
    assert_eq!(memory.area().append_pc(0xffff_ffff_8100_0018), Appended::Lost);
    assert_eq!(memory.words(), [0xffff_ffff_8100_0008, 1, 2]);
}

#[test]
fn capacities_match_the_kernel() {
    let capacity = |words: usize| {
        let memory = Memory::new(&vec![0; words]);
        (memory.area().words(), memory.area().pc_capacity(), memory.area().cmp_capacity())
    };
    assert_eq!(capacity(2), (2, 1, 0));
    assert_eq!(capacity(5), (5, 4, 1));
    assert_eq!(capacity(512), (512, 511, 127));
    assert_eq!(capacity(1024), (1024, 1023, 255));
    assert!(Area::new(&[]).is_none() && Area::new(&[AtomicU64::new(0)]).is_none());
}
