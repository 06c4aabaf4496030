//! Segments of the live view: a published view is read back; any other contents are refused or harmless.
#![cfg(not(loom))]

mod cases;

use kcov_proto::latency::{BUCKETS, Histogram};
use kcov_proto::quota::{Quota, Refusals};
use kcov_proto::sections::{self, Sections};
use kcov_proto::slot::Kind;
use kcov_proto::sync::{AtomicU64, Ordering};
use kcov_proto::tally::{Kinds, Tally};
use kcov_proto::view::{
    BODY, Counts, Identity, MAGIC, MAGIC_AT, MAX_WORKERS, Name, Pids, ReadError, SEQUENCE, VERSION,
    VERSION_AT, View, ViewWriter, WORDS, read,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn segment(words: impl IntoIterator<Item = u64>) -> Vec<AtomicU64> {
    words.into_iter().map(AtomicU64::new).collect()
}

fn read_words(words: &[AtomicU64]) -> Result<View, ReadError<std::convert::Infallible>> {
    read(&mut &words[..])
}

prop_compose! {
    fn counts()(w in proptest::array::uniform16(any::<u64>())) -> Counts {
        Counts {
            instances: w[0],
            instances_opened: w[1],
            files: w[2],
            files_opened: w[3],
            handles: w[4],
            tasks: w[5],
            arena_bytes: w[6],
            assists: w[7],
            workers_started: w[8],
            worker_crashes: w[9],
            retries: w[10],
            zygote_restarts: w[11],
            quota_refusals: w[12],
            artifacts: w[13],
            restarts: w[14],
            starts_delayed: w[15],
        }
    }
}

prop_compose! {
    fn tally()(
        [notifications, records, records_lost, records_suppressed, latency_sum_ns] in any::<[u64; 5]>(),
        kinds in any::<[u64; Kind::COUNT]>(),
        latency in any::<[u64; BUCKETS]>(),
    ) -> Tally {
        let (kinds, latency) = (Kinds(kinds), Histogram(latency));
        Tally { notifications, kinds, records, records_lost, records_suppressed, latency_sum_ns, latency }
    }
}

prop_compose! {
    fn view()(
        (boot, pid_namespace, pid, start) in any::<(u128, u64, u32, u64)>(),
        name in "[!-~]{1,64}",
        (started, beat) in any::<(u64, u64)>(),
        (front, tender, zygote) in any::<(u32, u32, u32)>(),
        workers in vec(any::<u32>(), 0..=MAX_WORKERS),
        counts in counts(),
        tally in tally(),
        refusals in any::<[u64; Quota::COUNT]>(),
        user in any::<Option<u32>>(),
        sections in any::<[u64; sections::WORDS]>(),
    ) -> View {
        View {
            identity: Identity { boot, pid_namespace, pid, start },
            name: Name::new(&name).expect("valid"),
            started,
            beat,
            pids: Pids { front, tender, zygote, workers },
            counts,
            tally,
            refusals: Refusals(refusals),
            user,
            sections: Sections::from_words(sections),
        }
    }
}

proptest! {
    #![proptest_config(cases::config())]

    #[test]
    fn a_published_view_is_read_back(views in vec(view(), 1..4)) {
        let words = segment([0; WORDS]);
        prop_assert_eq!(read_words(&words), Err(ReadError::Empty));
        let writer = ViewWriter::new(&words[..]).expect("long enough");
        for view in views {
            writer.publish(&view);
            prop_assert_eq!(read_words(&words), Ok(view));
        }
    }

    /// Noise behind a valid head: no panic, not too many workers, and only visible ASCII in the name.
    #[test]
    fn noise_is_refused_or_bounded(mut noise in vec(any::<u64>(), WORDS), name in "\\PC{0,70}", whole in any::<bool>()) {
        (noise[MAGIC_AT], noise[VERSION_AT]) = (MAGIC, VERSION);
        if whole {
            noise[SEQUENCE] &= !1;
        }
        // The name follows the five words of the identity.
        for (at, byte) in name.bytes().take(Name::MAX_BYTES).enumerate() {
            let (word, shift) = (BODY + 5 + at / 8, at % 8 * 8);
            noise[word] = noise[word] & !(0xff << shift) | u64::from(byte) << shift;
        }
        match read_words(&segment(noise.iter().copied())) {
            Ok(view) => {
                prop_assert!(view.pids.workers.len() <= MAX_WORKERS);
                prop_assert!(view.name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
            Err(error) => prop_assert!(matches!(error, ReadError::Name(_) | ReadError::Torn)),
        }
    }

    #[test]
    fn only_complete_segments_of_this_version_are_read(view in view(), magic in 1_u64.., version in any::<u64>()) {
        let words = segment([0; WORDS]);
        ViewWriter::new(&words[..]).expect("long enough").publish(&view);
        words[SEQUENCE].fetch_add(1, Ordering::Relaxed);
        prop_assert_eq!(read_words(&words), Err(ReadError::Torn));
        words[VERSION_AT].store(version, Ordering::Relaxed);
        prop_assume!(version != VERSION);
        prop_assert_eq!(read_words(&words), Err(ReadError::Version { found: version }));
        prop_assume!(magic != MAGIC);
        words[MAGIC_AT].store(magic, Ordering::Relaxed);
        prop_assert_eq!(read_words(&words), Err(ReadError::Foreign));
    }

    #[test]
    fn any_text_has_a_closest_name(text in any::<String>()) {
        let name = Name::like(&text);
        prop_assert_eq!(Name::new(name.as_str()), Ok(name.clone()));
        if let Ok(same) = Name::new(&text) {
            prop_assert_eq!(name, same);
        }
    }
}
