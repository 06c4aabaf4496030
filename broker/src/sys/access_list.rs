//! Access control lists of files (`acl(5)`), which say more than mode bits do.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a file has one, as far as can be told.
#[must_use]
pub fn has(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let name = c"system.posix_acl_access";
    // SAFETY: both names are C strings that outlive the call; with a size of 0 the kernel writes nothing (getxattr(2)).
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}
