//! Turns a fork of the spawner into a reader.

use crate::launch::quotas::Quotas;
use crate::processes::reader::allowance::Allowance;
use crate::processes::reader::{self, DeviceFiles, Sockets, TenantRoot};
use crate::sandbox::confine;
use crate::sandbox::filter::Bpf;
use crate::sys::memfd;
use crate::sys::shared::SharedWords;
use kcov_proto::message::FileId;
use kcov_proto::slot;
use std::os::fd::{AsFd, OwnedFd};

/// Runs the reader of the tenant below `tender`. Returns the exit status if it cannot start.
pub fn serve(
    descriptors: Vec<OwnedFd>,
    quotas: &Quotas,
    tender: u32,
    placeholder: Option<FileId>,
    devices: Vec<FileId>,
    filter: &Bpf,
) -> i32 {
    let Ok([requests, broker, listener, busy, allowance]) = <[OwnedFd; 5]>::try_from(descriptors) else {
        return 1;
    };
    let Ok(busy) = SharedWords::open(busy, slot::WORDS) else { return 1 };
    let Ok(allowance) = Allowance::open(allowance, quotas) else { return 1 };
    let Ok(memfd_device) = memfd::device() else { return 1 };
    let sockets = Sockets { requests, broker, listener, busy, allowance };
    let Sockets { requests, broker, listener, busy, allowance } = &sockets;
    let keep = [requests.as_fd(), broker.as_fd(), listener.as_fd(), busy.file(), allowance.file()];
    if confine::keep_only(&keep).and_then(|()| confine::reader(filter)).is_err() {
        return 1;
    }
    reader::serve(sockets, TenantRoot { pid: tender }, DeviceFiles { placeholder, devices, memfd_device })
}
