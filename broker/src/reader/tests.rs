//! The reader against live subjects: children that look things up themselves, so that the kernel's own answer to
//! the caller is what the reader's is compared with. They need root.

mod members;
mod memory;
mod paths;
mod subject;

use super::*;
use subject::Subject;

/// A reader whose tenant is below this test process.
/// The device is where `placeholders` say, and no memfd is one.
fn files(placeholders: Vec<FileId>) -> DeviceFiles {
    DeviceFiles { placeholders, memfd_device: u64::MAX }
}

fn reader() -> Reader {
    Reader::new(TenantRoot { pid: std::process::id() }, files(Vec::new())).expect("reader")
}

fn ask(reader: &mut Reader, tid: u32, what: ReaderKind) -> ReaderReply {
    reader.answer(&ReaderRequest { id: 0, tid, what })
}

fn failed(errno: Errno) -> ReaderReply {
    fail(errno)
}
