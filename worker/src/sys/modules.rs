//! What is loaded into this process.

use kcov_proto::message::{LoadedModule, MAX_MODULES};
use std::ffi::{CStr, c_int, c_void};

/// Longest path that is told.
const MOST_PATH: usize = 256;

/// The program and its libraries, at most [`MAX_MODULES`].
#[must_use]
pub fn loaded() -> Vec<LoadedModule> {
    let mut modules: Vec<LoadedModule> = Vec::new();
    // SAFETY: `note` is called with a valid structure while this runs, and with the pointer that is given here.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut modules).cast()) };
    modules
}

/// # Safety
/// `info` is what the loader gives, and `modules` leads to the vector of [`loaded`].
unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, modules: *mut c_void) -> c_int {
    // SAFETY: by the contract.
    let (Some(info), Some(modules)) =
        (unsafe { (info.as_ref(), modules.cast::<Vec<LoadedModule>>().as_mut()) })
    else {
        return 1;
    };
    if modules.len() >= MAX_MODULES {
        return 1;
    }
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: the loader says that there are so many, which live as long as the module is loaded.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let is_code =
        |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0;
    let code = || headers.iter().filter(is_code);
    let start = code().map(|header| header.p_vaddr).min();
    let end = code().map(|header| header.p_vaddr + header.p_memsz).max();
    if let (Some(start), Some(end)) = (start, end) {
        let bias = info.dlpi_addr;
        let path = if info.dlpi_name.is_null() {
            String::new()
        } else {
            // SAFETY: not null, so it is the loader's string.
            unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
        };
        modules.push(LoadedModule { path: named(path), start: start + bias, end: end + bias, bias });
    }
    0
}

/// The program has no name in the loader's list; a library that was loaded by descriptor, not its own.
fn named(path: String) -> String {
    let link = if path.is_empty() { "/proc/self/exe" } else { path.as_str() };
    let target = link.starts_with("/proc/self/").then(|| std::fs::read_link(link).ok()).flatten();
    let path = target.map_or(path, |target| target.display().to_string());
    if path.len() <= MOST_PATH { path } else { String::new() }
}
