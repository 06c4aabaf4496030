//! Every number of both tables, run through the filters of every profile by [`machine`](super::machine).

use super::machine::{AARCH64, I386, X86_64, run};
use super::*;
use kcov_proto::claims::{DeviceClaim, HandlerClaims};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF};
use std::collections::BTreeSet;

const FILE_MAP: [u64; 6] = [0, 4096, 1, libc::MAP_SHARED as u64, 0xdead_0000_0000_0005, 0];
const NO_FILE: u64 = 0xffff_ffff;

fn filter(text: &str) -> Bpf {
    build(&text.parse().expect("a set")).expect("a filter")
}

fn traced(program: &Bpf, arch: u32, number: i32, args: [u64; 6]) -> bool {
    match run(program, arch, number, args).0 {
        SECCOMP_RET_USER_NOTIF => true,
        SECCOMP_RET_ALLOW => false,
        other => panic!("action {other:#x} for {number}"),
    }
}

/// Returns the numbers below 600 that are traced when all arguments are 0, except a descriptor of -1.
fn numbers(program: &Bpf, arch: u32) -> BTreeSet<i32> {
    (0..600).filter(|&number| traced(program, arch, number, [0, 0, 0, 0, NO_FILE, 0])).collect()
}

fn named(arch: ScmpArch, names: &[&str]) -> BTreeSet<i32> {
    let number =
        |name: &&str| ScmpSyscall::from_name_by_arch(name, arch).ok().map(|call| call.as_raw_syscall());
    names.iter().filter_map(number).filter(|&number| number >= 0).collect()
}

#[test]
fn kcov_traces_the_device_and_nothing_else() {
    let program = filter("kcov");
    assert_eq!(numbers(&program, X86_64), named(ScmpArch::X8664, EXECS));
    let mut compat = named(ScmpArch::X86, EXECS);
    compat.insert(90);
    assert_eq!(numbers(&program, I386), compat);
    assert_eq!(numbers(&program, AARCH64), BTreeSet::new());
}

#[test]
fn opens_are_traced_if_handlers_have_devices() {
    let device = DeviceClaim { path: "/dev/x".into(), first: 1, last: 1 };
    let handler =
        HandlerClaims { name: "x".into(), calls: Vec::new(), devices: vec![device], idempotent: false };
    let claims = Claims { handlers: vec![handler] };
    let program = build_for(&TraceSet::default(), &claims).expect("a filter");
    assert_eq!(numbers(&program, X86_64), named(ScmpArch::X8664, &[EXECS, OPENS].concat()));
}

#[test]
fn requests_are_compared_by_their_low_half() {
    let program = filter("kcov");
    for (arch, ioctl) in [(X86_64, 16), (I386, 54)] {
        for request in DEVICE_REQUESTS.map(u64::from) {
            for high in [0, 0xffff_ffff, 0x8000_0000, 7] {
                assert!(traced(&program, arch, ioctl, [3, high << 32 | request, 0, 0, 0, 0]), "{request:#x}");
            }
            assert!(!traced(&program, arch, ioctl, [3, request ^ 0x10, 0, 0, 0, 0]), "{request:#x}");
            assert!(
                !traced(&program, arch, ioctl, [request, request << 32, request, request, 0, 0]),
                "{request:#x}"
            );
        }
        assert!(!traced(&program, arch, ioctl, [0, 0x5401, 0, 0, 0, 0]));
    }
}

#[test]
fn shared_maps_of_files_are_traced_and_others_are_not() {
    let program = filter("kcov");
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    for (arch, mmap) in [(X86_64, 9), (I386, 192)] {
        let with = |flags: u64, fd: u64| traced(&program, arch, mmap, [0, 4096, 3, flags, fd, 0]);
        assert!(traced(&program, arch, mmap, FILE_MAP));
        for fd in [0, 5, 0x7fff_ffff, 0xffff_ffff_0000_0005] {
            assert!(
                with(libc::MAP_SHARED as u64, fd) && with(libc::MAP_SHARED_VALIDATE as u64, fd),
                "{fd:#x}"
            );
            assert!(!with(libc::MAP_PRIVATE as u64, fd) && !with(anonymous, fd), "{fd:#x}");
            assert!(!with((libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64, fd), "{fd:#x}");
        }
        for fd in [NO_FILE, u64::MAX, 0x8000_0000, 0xffff_fffe] {
            assert!(!with(libc::MAP_SHARED as u64, fd) && !with(anonymous, fd), "{fd:#x}");
        }
    }
    assert!(traced(&program, I386, 90, [0xbfff_0000, 0, 0, anonymous, NO_FILE, 0]), "arguments in memory");
}

#[test]
fn a_list_adds_to_the_device() {
    let program = filter("read,mmap,ioctl,cachestat,file_setattr,socket");
    let list = ["read", "mmap", "mmap2", "ioctl", "socket"];
    for (arch, table) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
        let mut expected = named(table, &[EXECS, &list].concat());
        expected.extend([451, 469]);
        if arch == I386 {
            // It has a number since Linux 4.3; libseccomp's table has it among those that share socketcall.
            expected.insert(359);
        }
        assert_eq!(numbers(&program, arch), expected);
    }
    // socketcall, where it makes a socket.
    let socketcall = |call| traced(&program, I386, 102, [call, 0, 0, 0, 0, 0]);
    assert!(socketcall(1) && !socketcall(2));
}

#[test]
fn every_traces_all_calls_but_returns_from_signal_handlers() {
    let all_numbers: BTreeSet<i32> = (0..600).collect();
    for (arch, table) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
        assert_eq!(numbers(&filter("every"), arch), &all_numbers - &named(table, NEVER_TRACED));
    }
    assert_eq!(named(ScmpArch::X86, NEVER_TRACED), BTreeSet::from([119, 173]));
}

#[test]
fn calls_are_left_out_of_profiles() {
    let program = filter("every,-close,-cachestat");
    for (arch, table) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
        let mut left_out = named(table, &[NEVER_TRACED, &["close"]].concat());
        left_out.insert(451);
        assert_eq!(numbers(&program, arch), &(0..600).collect::<BTreeSet<i32>>() - &left_out);
    }
    let poll = filter("all,-poll");
    assert!(!traced(&poll, X86_64, 7, [0; 6]) && traced(&poll, X86_64, 0, [0; 6]));
    // What the device needs stays.
    let maps = filter("every,-mmap,-ioctl");
    assert!(traced(&maps, X86_64, 9, FILE_MAP) && !traced(&maps, X86_64, 9, [0, 4096, 3, 0x22, NO_FILE, 0]));
    assert!(traced(&maps, I386, 192, FILE_MAP) && !traced(&maps, I386, 192, [0, 4096, 3, 0x22, NO_FILE, 0]));
    let enable = [3, u64::from(abi::ENABLE), 0, 0, 0, 0];
    assert!(traced(&maps, X86_64, 16, enable) && !traced(&maps, X86_64, 16, [0, 0x5401, 0, 0, 0, 0]));
    // The 32-bit number 16 is another call.
    assert!(traced(&maps, I386, 16, [0; 6]) && traced(&maps, I386, 54, enable));
}

/// Calls that never return `EINTR` without a broker: a trapped one may, and programs do not expect it.
const UNINTERRUPTIBLE: &[&str] = &[
    "close",
    "dup",
    "dup2",
    "dup3",
    "fork",
    "vfork",
    "clone",
    "clone3",
    "pipe",
    "pipe2",
    "open",
    "openat",
    "openat2",
    "creat",
    "getpid",
    "getppid",
    "gettid",
    "munmap",
    "mprotect",
    "brk",
    "rt_sigaction",
    "rt_sigprocmask",
    "stat",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
    "access",
    "getcwd",
    "chdir",
    "unlink",
    "rename",
    "kill",
    "exit",
    "exit_group",
    "set_robust_list",
    "prctl",
    "arch_prctl",
    "uname",
    "getdents64",
    "pread64",
    "pwrite64",
];

#[test]
fn profiles_for_ordinary_programs_trace_interruptible_calls_only() {
    for set in ["kcov", "syzkaller", "all"] {
        let program = filter(set);
        for (arch, table) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
            let found = &numbers(&program, arch) & &named(table, UNINTERRUPTIBLE);
            assert_eq!(found, BTreeSet::new(), "{set}");
        }
        let fcntl = |command| traced(&program, X86_64, 72, [3, command, 0, 0, 0, 0]);
        assert!((0..64).all(|command| !fcntl(command) || [7, 38].contains(&command)), "{set}");
        let futex = |operation| traced(&program, X86_64, 202, [0, operation, 0, 0, 0, 0]);
        assert!([1, 129, 3, 131, 10].into_iter().all(|wake| !futex(wake)), "{set}");
        assert_eq!([0, 128, 9, 137, 393].map(futex), [set == "all"; 5], "{set}");
        assert!(!traced(&program, X86_64, 9, [0, 4096, 3, 0x22, NO_FILE, 0]), "{set}: malloc");
    }
}

#[test]
fn syzkaller_traces_what_its_probes_and_programs_need() {
    let (all, syzkaller) = (filter("all"), filter("syzkaller"));
    let fixed = [0, 4096, 3, 0x32, NO_FILE, 0];
    assert!(traced(&syzkaller, X86_64, 9, fixed) && !traced(&all, X86_64, 9, fixed));
    for (arch, table) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
        let quiet = named(table, EXECUTOR_LOOP);
        assert_eq!(numbers(&syzkaller, arch), &numbers(&all, arch) - &quiet);
        let futex = named(table, &["futex"]);
        assert_eq!(numbers(&filter("syzkaller,futex"), arch), &(&numbers(&all, arch) - &quiet) | &futex);
    }
}

#[test]
fn x32_and_other_architectures_are_not_traced() {
    for set in ["kcov", "syzkaller", "all", "every", "every,-close", "read,cachestat"] {
        let program = filter(set);
        for number in 0..600 {
            assert!(!traced(&program, X86_64, 0x4000_0000 | number, FILE_MAP), "{set} {number}");
        }
        for number in 0..450 {
            assert!(!traced(&program, AARCH64, number, FILE_MAP), "{set} {number}");
        }
    }
}

#[test]
fn filters_are_small() {
    for (set, most_instructions, most_steps) in
        [("kcov", 90, 24), ("syzkaller", 350, 40), ("all", 350, 40), ("every", 30, 10)]
    {
        let program = filter(set);
        let steps = (0..600).map(|n| run(&program, X86_64, n, FILE_MAP).1).max().expect("600 calls");
        let length = program.instructions().len();
        println!("{set}: {length} instructions, at most {steps} steps");
        assert!(
            length <= most_instructions && steps <= most_steps,
            "{set}: {length} instructions, {steps} steps"
        );
    }
}
