//! Reads of memory, and of strings at the end of a mapping. A subject is a fork of this process, so addresses are the
//! same in both. Its stack ends with the path of the program, a NUL and eight zero bytes (`fs/exec.c`, `bprm_execve`);
//! nothing is mapped after it.

use super::subject::{Setting, Subject};
use super::{Found, ask, failed, reader};
use kcov_proto::abi::{self, RemoteArg};
use kcov_proto::message::{KcovIoctl, MAX_READ, ReaderKind};
use nix::errno::Errno;
use std::path::Path;

fn subject() -> Subject {
    let (directory, file) = (Path::new("/"), Path::new("/proc/version"));
    Subject::start(&Setting { enter: &|| {}, directory, file, thread: None })
}

/// First address after the stack.
fn end_of_stack() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("stack");
    let (_, rest) = stack.split_once('-').expect("range");
    u64::from_str_radix(&rest[..rest.find(' ').expect("end")], 16).expect("address")
}

#[test]
fn reads_are_all_or_nothing() {
    let bytes: Vec<u8> = (0..MAX_READ).map(|i| (i % 251) as u8).collect();
    let (subject, mut reader) = (subject(), reader());
    let mut read = |address, length| ask(&mut reader, subject.tid, ReaderKind::Memory { address, length });
    let address = bytes.as_ptr() as u64;
    assert_eq!(read(address, MAX_READ as u32), Found::Memory(bytes.clone()));
    assert_eq!(read(address + 3, 5), Found::Memory(bytes[3..8].to_vec()));
    assert_eq!(read(address, 0), Found::Memory(Vec::new()));
    assert_eq!(read(address, MAX_READ as u32 + 1), failed(Errno::EINVAL));
    let end = end_of_stack();
    assert_eq!(read(end - 8, 8), Found::Memory(vec![0; 8]));
    for (address, length) in [(end - 8, 9), (end - 5000, 6000), (0, 1), (u64::MAX, 1), (u64::MAX - 7, 16)] {
        assert_eq!(read(address, length), failed(Errno::EFAULT), "{address:#x} {length}");
    }
}

#[test]
fn a_string_may_end_where_its_mapping_ends() {
    let (subject, mut reader) = (subject(), reader());
    let mut look_up = |address| {
        let what = ReaderKind::Open { flags: 0, dirfd: nix::libc::AT_FDCWD, address, resolve: 0 };
        ask(&mut reader, subject.tid, what)
    };
    let end = end_of_stack();
    // From the slash before the program's name to the end there are fewer bytes than the first read requests.
    let program = std::env::args_os().next().expect("program");
    let length = program.len() as u64;
    let facts = std::fs::metadata(&program).expect("stat");
    match look_up(end - 8 - 1 - length) {
        Found::File(id) => assert_eq!(id.inode, std::os::unix::fs::MetadataExt::ino(&facts)),
        other => panic!("{other:?}"),
    }
    assert_eq!(look_up(end - 1), failed(Errno::ENOENT));
    for address in [end, 0, u64::MAX] {
        assert_eq!(look_up(address), failed(Errno::EFAULT), "{address:#x}");
    }
}

#[test]
fn an_unterminated_string_is_too_long() {
    let text = vec![b'/'; 8192];
    let (subject, mut reader) = (subject(), reader());
    let address = text.as_ptr() as u64;
    let what = ReaderKind::Open { flags: 0, dirfd: 0, address, resolve: 0 };
    assert_eq!(ask(&mut reader, subject.tid, what), failed(Errno::ENAMETOOLONG));
}

#[test]
fn remote_arguments_are_checked_in_the_order_of_the_kernel() {
    let argument = |number: u32, handles: &[u64]| {
        let words = [1u32, 64, number, 0].into_iter().flat_map(u32::to_ne_bytes);
        words.chain([7u64].iter().chain(handles).flat_map(|word| word.to_ne_bytes())).collect::<Vec<u8>>()
    };
    let (good, many) = (argument(2, &[5, 6]), argument(257, &[]));
    let (subject, mut reader) = (subject(), reader());
    let request = abi::REMOTE_ENABLE;
    let ioctl = |arg| ReaderKind::Ioctl(KcovIoctl { fd: 0, request, arg });
    let mut read = |address| ask(&mut reader, subject.tid, ioctl(address));
    let expected = RemoteArg { trace_mode: 1, area_size: 64, common_handle: 7, handles: vec![5, 6] };
    assert_eq!(read(good.as_ptr() as u64), Found::RemoteArg(expected));
    assert_eq!(read(many.as_ptr() as u64), failed(Errno::EINVAL));
    for address in [0, u64::MAX - 3, end_of_stack() - 8, end_of_stack() - 16] {
        assert_eq!(read(address), failed(Errno::EFAULT), "{address:#x}");
    }
}
