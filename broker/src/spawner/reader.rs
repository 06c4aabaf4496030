//! Becoming a reader.

use crate::confine;
use crate::reader::{self, TenantRoot};
use kcov_proto::message::FileId;
use std::os::fd::{AsFd, OwnedFd};

/// Serves as the reader of the tenant below `tender`. Returns the exit status if it cannot.
pub fn serve(descriptors: Vec<OwnedFd>, tender: u32, placeholders: Vec<FileId>) -> i32 {
    let Ok([socket, listener]) = <[OwnedFd; 2]>::try_from(descriptors) else { return 1 };
    let _ = nix::sys::prctl::set_name(c"kcov-reader");
    if confine::keep_only(&[socket.as_fd(), listener.as_fd()]).and_then(|()| confine::reader()).is_err() {
        return 1;
    }
    reader::serve(socket, listener, TenantRoot { pid: tender }, placeholders)
}
