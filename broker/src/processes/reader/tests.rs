//! Tests against child processes (subjects) that do the same lookups themselves, so that the results of the reader can
//! be compared with the kernel's. They need root.

mod members;
mod memory;
mod paths;
mod subject;

use super::*;
use subject::Subject;

/// The result of a request, before it is sent to the worker or the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Memory(Vec<u8>),
    File(FileId),
    RemoteArg(RemoteArg),
    Fail(Errno),
    Gone,
}

/// No file is a device.
fn files() -> DeviceFiles {
    DeviceFiles { placeholder: None, devices: Vec::new(), memfd_device: u64::MAX }
}

/// A reader for a tenant whose root is this test process.
fn reader() -> Reader {
    Reader::new(TenantRoot { pid: std::process::id() }, files()).expect("reader")
}

fn ask(reader: &mut Reader, tid: u32, what: ReaderKind) -> Found {
    let found = match what {
        ReaderKind::Open { flags, dirfd, address, resolve } => {
            reader.work_for(tid, |reader| reader.find(tid, flags, dirfd, address, resolve).map(Found::File))
        }
        ReaderKind::Ioctl(KcovIoctl { arg, .. }) => {
            reader.work_for(tid, |_| remote_arg(tid, arg).map(Found::RemoteArg))
        }
        what => match reader.answer(&ReaderRequest { id: 0, tid, what }) {
            ReaderReply::Memory(bytes) => Ok(Found::Memory(bytes)),
            ReaderReply::Fail(errno) => Err(Errno::from_raw(errno.0)),
            ReaderReply::Gone => Err(Errno::ESRCH),
            ReaderReply::Written => Err(Errno::EPROTO),
        },
    };
    match found {
        Ok(found) => found,
        Err(Errno::ESRCH) => Found::Gone,
        Err(errno) => Found::Fail(errno),
    }
}

fn failed(errno: Errno) -> Found {
    Found::Fail(errno)
}
