//! The tables, compared with the rules of clients and with the system calls of this machine.

use super::*;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Area, CmpRecord};
use kcov_proto::sync::AtomicU64;
use std::collections::HashSet;
use std::sync::LazyLock;

static TRACER: LazyLock<Tracer> = LazyLock::new(Tracer::new);

fn call(number: i64, args: [u64; 6]) -> Call {
    Call { id: 1, tid: 1, abi: Abi::Native, number: i32::try_from(number).unwrap(), args }
}

fn traced<T>(mode: TraceMode, collect: impl FnOnce(&Area<'_>) -> Vec<T>, body: impl FnOnce()) -> Vec<T> {
    let words: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
    let area = Area::new(&words).unwrap();
    crate::record::Scope::enter(area, mode, |_| body());
    collect(&area)
}

fn pcs(call: &Call) -> Vec<u64> {
    traced(TraceMode::Pc, |area| area.pcs(), || TRACER.record(call))
}

fn read_cmps(area: &Area<'_>) -> Vec<CmpRecord> {
    area.cmps().into_iter().map(|words| CmpRecord::from_words(words).expect("a type of 0 to 7")).collect()
}

fn cmps(call: &Call) -> Vec<CmpRecord> {
    traced(TraceMode::Cmp, read_cmps, || TRACER.record(call))
}

#[test]
fn numbers_map_to_their_names() {
    let name = |number| TRACER.name(&call(number, [0; 6]));
    for (number, expected) in [
        (libc::SYS_read, "read"),
        (libc::SYS_openat, "openat"),
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_dup, "dup"),
        (libc::SYS_getppid, "getppid"),
        (libc::SYS_openat2, "openat2"),
        (450, "set_mempolicy_home_node"),
        (451, "cachestat"),
        (462, "mseal"),
        (469, "file_setattr"),
    ] {
        assert_eq!(name(number), Some(expected));
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!([335, 336].map(name), [Some("uretprobe"), Some("uprobe")]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn i386_and_x32_have_their_own_numbers() {
    let name = |number| TRACER.name(&Call { abi: Abi::I386, ..call(number, [0; 6]) });
    let names = [3, 4, 5, 54, 90, 102, 192, 295, 359, 407, 451].map(name);
    let expected = [
        "read",
        "write",
        "open",
        "ioctl",
        "mmap",
        "socketcall",
        "mmap2",
        "openat",
        "socket",
        "clock_nanosleep_time64",
        "cachestat",
    ];
    assert_eq!(names, expected.map(Some));
    assert_eq!(name(222), None);
    let x32 = |number: i32| TRACER.name(&Call { abi: Abi::X32, number, ..call(0, [0; 6]) });
    assert_eq!([X32_BIT, X32_BIT | 514, X32_BIT | 451].map(x32), ["read", "ioctl", "cachestat"].map(Some));
}

#[test]
fn no_call_of_this_machine_is_missing() {
    // libseccomp's table, without the calls that Linux has removed.
    let gone = [
        "_sysctl",
        "afs_syscall",
        "bdflush",
        "break",
        "create_module",
        "epoll_ctl_old",
        "epoll_wait_old",
        "ftime",
        "get_kernel_syms",
        "getpmsg",
        "gtty",
        "idle",
        "lock",
        "lookup_dcookie",
        "mpx",
        "nfsservctl",
        "prof",
        "profil",
        "putpmsg",
        "query_module",
        "security",
        "stty",
        "tuxcall",
        "ulimit",
        "vserver",
    ];
    let tables = [(Abi::Native, 0), (Abi::I386, 0), (Abi::X32, X32_BIT)];
    for (abi, bit) in &tables[..if cfg!(target_arch = "x86_64") { 3 } else { 1 }] {
        let arch = abi.arch().expect("a table of this machine");
        for number in (0..600).map(|number| number | bit) {
            let Ok(name) = ScmpSyscall::from(number).get_name_by_arch(arch) else { continue };
            let row = TRACER.name(&Call { abi: *abi, ..call(number.into(), [0; 6]) });
            assert_eq!(row.is_none(), gone.contains(&name.as_str()), "{abi:?} {number} {name}: {row:?}");
        }
    }
}

#[test]
fn unknown_and_foreign_calls_record_nothing() {
    for number in [9999, 600, -1, i32::MAX, i32::MIN] {
        let call = Call { number, ..call(0, [1; 6]) };
        assert!(pcs(&call).is_empty() && cmps(&call).is_empty());
    }
    for abi in [Abi::Foreign, Abi::X32] {
        let foreign = Call { abi, ..call(0, [1; 6]) };
        assert!(pcs(&foreign).is_empty() && cmps(&foreign).is_empty());
    }
}

#[test]
fn every_row_has_its_own_name_and_line() {
    let names: HashSet<_> = CALLS.iter().map(|row| row.name).collect();
    let places: HashSet<_> = CALLS
        .iter()
        .map(|row| kcov_proto::site::ParsedSite::parse(row.site.bytes()).expect("a site"))
        .map(|site| (site.file, site.line))
        .collect();
    assert_eq!([names.len(), places.len()], [CALLS.len(); 2]);
}

#[test]
fn every_class_compares_with_values_that_clients_keep() {
    for row in CALLS {
        assert!(row.args.len() <= 6, "{}", row.name);
        for test in row.args.iter().flat_map(|class| class.iter()) {
            let (classes::Comparand::Constant(value) | classes::Comparand::Bound(value)) = test.comparand
            else {
                continue;
            };
            assert!(value != 0 && test.size.truncate(value) == value, "{}: {test:?}", row.name);
        }
    }
}

#[cfg(feature = "record")]
mod on {
    use super::*;
    use proptest::prelude::*;

    /// All calls in the tables of this machine.
    fn known() -> Vec<Call> {
        [(Abi::Native, 0), (Abi::I386, 0), (Abi::X32, X32_BIT)]
            .into_iter()
            .flat_map(|(abi, bit)| {
                (0..600).map(move |number| Call { abi, ..call((number | bit).into(), [0; 6]) })
            })
            .filter(|call| TRACER.name(call).is_some())
            .collect()
    }

    /// The condition under which syzkaller's executor keeps a comparison (`kcov_comparison_t::ignore`), and
    /// which the kernel's own records satisfy.
    fn is_usable(record: &CmpRecord) -> bool {
        let CmpRecord { kind, arg1, arg2, pc } = *record;
        let dropped = arg1 == arg2 || arg1 == 0 && (arg2 == 0 || kind.constant);
        let fits = [arg1, arg2].iter().all(|operand| kind.size.truncate(*operand) == *operand);
        !dropped && fits && pc != 0
    }

    #[test]
    fn every_call_records_its_own_pc() {
        let known = known();
        let mut seen = HashSet::new();
        for call in &known {
            let found = pcs(call);
            assert_eq!(found.len(), 1);
            assert_eq!(found, pcs(call));
            seen.insert(found[0]);
        }
        let names: HashSet<_> = known.iter().map(|call| TRACER.name(call)).collect();
        assert!(names.len() > 350 && seen.len() == names.len());
    }

    #[test]
    fn the_conformance_workload_has_both_kinds_and_two_sizes() {
        let minus = -1_i32 as u64;
        let records: Vec<CmpRecord> = [
            call(libc::SYS_read, [minus, 0, 0, 0, 0, 0]),
            call(libc::SYS_openat, [libc::AT_FDCWD as u64, 0x40_0000, 0, 0, 0, 0]),
            call(libc::SYS_dup, [minus, 0, 0, 0, 0, 0]),
        ]
        .iter()
        .flat_map(cmps)
        .collect();
        let sizes: HashSet<_> = records.iter().map(|record| record.kind.size).collect();
        assert!(sizes.len() >= 2);
        assert!([true, false].iter().all(|constant| records.iter().any(|r| r.kind.constant == *constant)));
    }

    #[test]
    fn a_probe_by_mmap_finds_the_flags() {
        let flags = (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let found = cmps(&call(libc::SYS_mmap, [0x2000_0000, 0x1000, 3, flags, u64::MAX, 0]));
        assert!(found.iter().any(|record| record.kind.constant && record.arg2 == flags), "{found:?}");
    }

    #[test]
    fn the_heartbeat_is_one_usable_record() {
        assert_eq!(traced(TraceMode::Pc, |area| area.pcs(), heartbeat).len(), 1);
        let found = traced(TraceMode::Cmp, read_cmps, heartbeat);
        assert!(found.len() == 1 && is_usable(&found[0]), "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_call_records_usable_comparisons(
            args in prop::array::uniform6(prop_oneof![
                any::<u64>(),
                0..100_u64,
                Just(u64::MAX),
                (0..64_u32).prop_map(|bit| 1 << bit),
            ]),
        ) {
            for known in known() {
                let call = Call { args, ..known };
                let found = cmps(&call);
                prop_assert!(!found.is_empty() && found.iter().all(is_usable), "{call:?}: {found:?}");
                prop_assert_eq!(found, cmps(&call));
            }
        }
    }
}
