//! The device compared with a simpler model of it: the same results and errnos for any sequence of requests
//! of a few threads on a few instances, and the same state after each.
#![cfg(not(loom))]

mod cases;
mod device_model;

use device_model::Model;
use kcov_proto::abi::RemoteArg;
use kcov_proto::device::{ArenaId, Armed, Device, Options, Rules, Tid};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const THREADS: std::ops::Range<Tid> = 1..5;
/// Steps use one of this many most recently opened instances, so that released ones soon drop out.
const RECENT: usize = 6;
const PAGE: u64 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Open,
    Init { of: usize, words: u64 },
    Enable { of: usize, tid: Tid, arg: u64 },
    UniqueEnable { of: usize, tid: Tid, bitmap: u64 },
    RemoteEnable { of: usize, tid: Tid, arg: RemoteArg },
    Inherit { tid: Tid, handle: u64 },
    Disable { of: usize, tid: Tid, arg: u64 },
    Reset { of: usize, tid: Tid, arg: u64, by_any: bool },
    Mmap { of: usize, length: u64, offset: u64 },
    Exit { tid: Tid },
    Rebind { old: Tid, new: Tid },
    Release { of: usize },
}

fn words() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(512_u64),
        2 => Just(1024_u64),
        2 => 0..4_u64,
        1 => 0x0fff_fffd..0x1000_0003_u64,
        1 => any::<u64>(),
    ]
}

fn mode() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..2_u64, 1 => Just(2_u64), 1 => Just(1_u64 << 32), 1 => any::<u64>()]
}

fn bitmap() -> impl Strategy<Value = u64> {
    prop_oneof![8 => Just(64_u64), 2 => 0..4_u64, 2 => 509..513_u64, 1 => any::<u64>()]
}

fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![8 => Just(0_u64), 1 => any::<u64>()]
}

/// Valid handles that collide, and handles with an extra bit.
fn handle(subsystem: u64) -> impl Strategy<Value = u64> {
    let good = (0..6_u64).prop_map(move |instance| subsystem << 56 | instance);
    let bad = (0..3_u64, 32..64_u32).prop_map(move |(instance, bit)| subsystem << 56 | 1 << bit | instance);
    prop_oneof![12 => good, 1 => bad, 1 => any::<u64>()]
}

fn remote_arg() -> impl Strategy<Value = RemoteArg> {
    let common = prop_oneof![2 => Just(0_u64), 3 => handle(0)];
    let mode = prop_oneof![8 => 0..2_u32, 1 => any::<u32>()];
    (mode, any::<u32>(), common, prop::collection::vec(handle(1), 0..5)).prop_map(
        |(trace_mode, area_size, common_handle, handles)| RemoteArg {
            trace_mode,
            area_size,
            common_handle,
            handles,
        },
    )
}

fn length() -> impl Strategy<Value = u64> {
    let near =
        (prop_oneof![Just(4096_i64), Just(8192_i64)], -1..2_i64).prop_map(|(size, by)| (size + by) as u64);
    prop_oneof![6 => near, 1 => any::<u64>(), 1 => u64::MAX - PAGE..=u64::MAX]
}

fn step() -> impl Strategy<Value = Step> {
    let of = || 0..RECENT;
    prop_oneof![
        4 => Just(Step::Open),
        6 => (of(), words()).prop_map(|(of, words)| Step::Init { of, words }),
        8 => (of(), THREADS, mode()).prop_map(|(of, tid, arg)| Step::Enable { of, tid, arg }),
        4 => (of(), THREADS, bitmap()).prop_map(|(of, tid, bitmap)| Step::UniqueEnable { of, tid, bitmap }),
        1 => (THREADS, prop_oneof![Just(0), handle(0)]).prop_map(|(tid, handle)| Step::Inherit { tid, handle }),
        8 => (of(), THREADS, remote_arg()).prop_map(|(of, tid, arg)| Step::RemoteEnable { of, tid, arg }),
        5 => (of(), THREADS, argument()).prop_map(|(of, tid, arg)| Step::Disable { of, tid, arg }),
        3 => (of(), THREADS, argument(), any::<bool>())
            .prop_map(|(of, tid, arg, by_any)| Step::Reset { of, tid, arg, by_any }),
        3 => (of(), length(), argument()).prop_map(|(of, length, offset)| Step::Mmap { of, length, offset }),
        3 => THREADS.prop_map(|tid| Step::Exit { tid }),
        2 => (THREADS, THREADS).prop_map(|(old, new)| Step::Rebind { old, new }),
        4 => of().prop_map(|of| Step::Release { of }),
    ]
}

/// The device and its model.
struct Pair {
    device: Device,
    model: Model,
}

/// Both rules, shared instances or not, and no limit on handles or one that the threads can reach.
fn options() -> impl Strategy<Value = Options> {
    let rules = prop_oneof![Just(Rules::V6_12), Just(Rules::V7_2)];
    let max_handles = prop_oneof![2 => Just(usize::MAX), 3 => 0..9_usize];
    (rules, any::<bool>(), max_handles).prop_map(|(rules, shared, max_handles)| Options {
        rules,
        shared,
        max_handles,
    })
}

impl Pair {
    fn new(options: Options) -> Self {
        let model = Model { objects: Vec::new(), options, common_handles: HashMap::new() };
        Pair { device: Device::with(options), model }
    }

    /// Applies one step to both.
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let Pair { device, model } = self;
        let opened = model.objects.len();
        if opened == 0 {
            model.open(device.open());
            return Ok(());
        }
        let first = opened.saturating_sub(RECENT);
        let place = |of: usize| first + of % (opened - first);
        let id = |of: usize, model: &Model| model.objects[place(of)].id;
        match step {
            Step::Open => model.open(device.open()),
            Step::Init { of, words } => {
                let id = id(of, model);
                let expected = model.init(place(of), words);
                prop_assert_eq!(device.check_init(id, words), expected);
                prop_assert_eq!(device.commit_init(id, words), expected);
            }
            Step::Enable { of, tid, arg } => {
                let arena = id(of, model);
                let expected = model.enable(place(of), tid, arg);
                let words = model.objects[place(of)].size;
                let shared = model.options.shared;
                let expected = expected.map(|mode| Armed { arena, mode, words, bitmap: 0, shared });
                prop_assert_eq!(device.enable(arena, tid, arg), expected);
            }
            Step::UniqueEnable { of, tid, bitmap } => {
                let arena = id(of, model);
                let expected = model.unique_enable(place(of), tid, bitmap);
                let words = model.objects[place(of)].size;
                let shared = model.options.shared;
                let expected = expected.map(|mode| Armed { arena, mode, words, bitmap, shared });
                prop_assert_eq!(device.unique_enable(arena, tid, bitmap), expected);
            }
            Step::Inherit { tid, handle } => {
                model.common_handles.insert(tid, handle);
                device.inherit_common_handle(tid, handle);
            }
            Step::RemoteEnable { of, tid, arg } => {
                let expected = model.remote_enable(place(of), tid, &arg);
                prop_assert_eq!(device.remote_enable(id(of, model), tid, &arg), expected);
                if expected.is_err_and(|refusal| refusal.rolls_back) {
                    model.common_handles.remove(&tid);
                    device.clear_common_handle(tid);
                }
            }
            Step::Disable { of, tid, arg } => {
                prop_assert_eq!(device.disable(id(of, model), tid, arg), model.disable(place(of), tid, arg));
            }
            Step::Reset { of, tid, arg, by_any } => {
                let expected = model.reset(place(of), tid, arg, by_any);
                prop_assert_eq!(device.reset_trace(id(of, model), tid, arg, by_any), expected);
            }
            Step::Mmap { of, length, offset } => {
                let expected = model.mmap(place(of), length, offset, PAGE);
                prop_assert_eq!(device.check_mmap(id(of, model), length, offset, PAGE), expected);
            }
            Step::Exit { tid } => prop_assert_eq!(device.exit(tid), model.exit(tid)),
            Step::Rebind { old, new } => {
                device.rebind(old, new);
                model.rebind(old, new);
            }
            Step::Release { of } => {
                prop_assert_eq!(device.release(id(of, model)), model.release(place(of)));
            }
        }
        Ok(())
    }

    /// Id and sequence of each instance that exists, and whether it is enabled.
    fn sequences(&self) -> Vec<(ArenaId, u64, bool)> {
        let ids = self.model.objects.iter().map(|object| object.id);
        let state = |id| Some((id, self.device.sequence(id)?, !self.device.owners_of(id).is_empty()));
        ids.filter_map(state).collect()
    }

    /// Enabling and disabling change the sequence. An instance that got the index of a released one has a
    /// higher sequence.
    fn compare_sequences(&self, before: &[(ArenaId, u64, bool)]) -> Result<(), TestCaseError> {
        for (id, sequence, enabled) in self.sequences() {
            let same_index = before.iter().find(|(other, ..)| other.index == id.index);
            let Some(&(other, old, was_enabled)) = same_index else { continue };
            prop_assert!(sequence >= old);
            prop_assert!(sequence > old || (other, was_enabled) == (id, enabled));
        }
        Ok(())
    }

    /// Compares everything that can be queried.
    fn compare(&self) -> Result<(), TestCaseError> {
        let Pair { device, model } = self;
        let owners = model.objects.iter().filter_map(|object| object.enabled.as_ref());
        let owners: HashSet<Tid> = owners.flat_map(|enabled| enabled.owners.iter().copied()).collect();
        prop_assert_eq!(device.live(), model.objects.iter().filter(|object| !object.released).count());
        prop_assert_eq!(device.owners(), owners.len());
        prop_assert_eq!(device.handles(), model.handles());
        prop_assert!(device.handles() <= model.options.max_handles);
        for tid in THREADS {
            prop_assert_eq!(device.is_owner(tid), owners.contains(&tid));
            let armed = model.owned(tid, false).and_then(|at| {
                let object = &model.objects[at];
                let enabled = object.enabled.as_ref()?;
                let (mode, bitmap, shared) = (enabled.mode, enabled.bitmap, model.options.shared);
                Some(Armed { arena: object.id, mode, words: object.size, bitmap, shared })
            });
            prop_assert_eq!(device.armed(tid), armed);
            let common = model.common_handles.get(&tid).copied().unwrap_or_default();
            prop_assert_eq!(device.common_handle(tid), common);
        }
        for handle in (0..6).flat_map(|instance| [instance, 1 << 56 | instance]) {
            let target = model.holder(handle).map(|at| &model.objects[at]);
            let target = target.and_then(|object| Some((object, object.enabled.as_ref()?)));
            let target = target.map(|(object, it)| (object.id, it.mode, object.size, it.area_size));
            let found = device.remote(handle);
            prop_assert_eq!(found.map(|it| (it.arena, it.mode, it.words, it.area_size)), target);
            prop_assert_eq!(found.map(|it| it.sequence), found.and_then(|it| device.sequence(it.arena)));
        }
        for (at, object) in model.objects.iter().enumerate() {
            prop_assert_eq!(device.sequence(object.id).is_some(), !object.released);
            prop_assert_eq!(device.owners_of(object.id), model.owners(at));
            prop_assert_eq!(device.bitmap(object.id), object.enabled.as_ref().map_or(0, |it| it.bitmap));
            let words = (!object.released && object.size != 0).then_some(object.size);
            prop_assert_eq!(device.words(object.id), words);
        }
        let numbers: HashSet<u64> = model.objects.iter().map(|object| object.id.number()).collect();
        prop_assert_eq!(numbers.len(), model.objects.len(), "two instances have the same id");
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases::config())]

    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 0..120), options in options()) {
        let mut pair = Pair::new(options);
        for step in steps {
            let before = pair.sequences();
            pair.step(step)?;
            pair.compare()?;
            pair.compare_sequences(&before)?;
        }
    }

    /// A refusal that blames a thread changes, or blames another thread, once the blamed thread has exited.
    /// So repeating the request after each exit terminates.
    #[test]
    fn repeating_a_refused_request_after_exits_terminates(steps in prop::collection::vec(step(), 0..120), of in 0..RECENT, arg in remote_arg(), options in options()) {
        let mut pair = Pair::new(Options { max_handles: usize::MAX, ..options });
        steps.into_iter().try_for_each(|step| pair.step(step))?;
        prop_assume!(!pair.model.objects.is_empty());
        let id = pair.model.objects[of % pair.model.objects.len()].id;
        let mut blamed = HashSet::new();
        while let Err(refusal) = pair.device.remote_enable(id, THREADS.end, &arg) {
            let Some(tid) = refusal.blames else { break };
            prop_assert!(blamed.insert(tid), "{} is blamed twice", tid);
            prop_assert!(pair.device.exit(tid), "{} owned nothing", tid);
        }
    }
}
