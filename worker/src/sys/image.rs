//! The program and the libraries of this process, as the loader has mapped them.
//!
//! Their headers are trusted: the loader has used them, and a library can do anything in this process anyway.

mod dynamic;
mod notes;

use kcov_proto::trace_calls::{self, Code, Machine, Targets};
use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;

/// A program or library in memory.
pub struct Image<'a> {
    /// Difference of addresses in this process and addresses in the file.
    bias: u64,
    name: &'a CStr,
    headers: &'a [libc::Elf64_Phdr],
}

/// Calls `visit` with the program and then its libraries, in the order in which they were loaded. The loader
/// is locked meanwhile: `visit` must not load or unload a library.
pub fn each(mut visit: impl FnMut(&Image<'_>)) {
    let mut visit: &mut dyn FnMut(&Image<'_>) = &mut visit;
    // SAFETY: the loader calls `show` with a valid structure, while this runs, and with the pointer that is
    // passed here.
    unsafe { libc::dl_iterate_phdr(Some(show), (&raw mut visit).cast()) };
}

/// # Safety
/// `info` comes from the loader, and `visit` points to the closure of [`each`].
unsafe extern "C" fn show(info: *mut libc::dl_phdr_info, _: usize, visit: *mut c_void) -> c_int {
    // SAFETY: by the contract.
    let (Some(info), Some(visit)) =
        (unsafe { (info.as_ref(), visit.cast::<&mut dyn FnMut(&Image<'_>)>().as_mut()) })
    else {
        return 1;
    };
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: the loader reports this number of headers, which exist as long as the module is loaded.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let name = if info.dlpi_name.is_null() {
        c""
    } else {
        // SAFETY: it is not null, so it is a C string of the loader.
        unsafe { CStr::from_ptr(info.dlpi_name) }
    };
    visit(&Image { bias: info.dlpi_addr, name, headers });
    0
}

impl Image<'_> {
    /// Returns the difference of addresses in this process and addresses in the file.
    #[must_use]
    pub fn bias(&self) -> u64 {
        self.bias
    }

    /// Returns the name by which it was loaded, which is empty for the program.
    #[must_use]
    pub fn name(&self) -> &CStr {
        self.name
    }

    /// Returns the file addresses of its executable segments, from the start of the lowest to the end of the
    /// highest.
    #[must_use]
    pub fn text(&self) -> Option<Range<u64>> {
        let code = || self.segments(libc::PT_LOAD).filter(|header| header.p_flags & libc::PF_X != 0);
        let start = code().map(|header| header.p_vaddr).min()?;
        let end = code().map(|header| header.p_vaddr.saturating_add(header.p_memsz)).max()?;
        Some(start..end)
    }

    /// Returns whether it contains this address of the process.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        let at = address.wrapping_sub(self.bias);
        self.segments(libc::PT_LOAD).any(|header| at.wrapping_sub(header.p_vaddr) < header.p_memsz)
    }

    /// Returns its build id.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.segments(libc::PT_NOTE).find_map(|header| notes::build_id(self.bytes(header), header.p_align))
    }

    /// Returns whether its relocations name a callback of instrumented code.
    #[must_use]
    pub fn is_instrumented(&self) -> bool {
        let Some(header) = self.segments(libc::PT_DYNAMIC).next() else { return false };
        // SAFETY: the dynamic section of a loaded module, with its bias.
        unsafe { dynamic::names_callback(self.bytes(header), self.bias) }
    }

    /// Returns the file addresses to which its calls of a function return, and perhaps some of other calls.
    /// `function`: name of the function, which is at `address` in this process.
    #[must_use]
    pub fn calls(&self, function: &str, address: u64) -> Vec<u64> {
        let is_code = |header: &&libc::Elf64_Phdr| {
            header.p_flags & (libc::PF_R | libc::PF_X) == libc::PF_R | libc::PF_X
        };
        let code = self.segments(libc::PT_LOAD).filter(is_code);
        let code: Vec<Code<'_>> =
            code.map(|header| Code { address: header.p_vaddr, bytes: self.bytes(header) }).collect();
        let own = Some(address).filter(|address| self.contains(*address));
        let own = own.map(|address| address.wrapping_sub(self.bias));
        // SAFETY: the dynamic section of a loaded module, with its bias.
        let words = |header| unsafe { dynamic::words_of(self.bytes(header), self.bias, function, own) };
        let words = self.segments(libc::PT_DYNAMIC).flat_map(words).collect();
        let targets = Targets { functions: own.into_iter().collect(), words };
        trace_calls::find_candidates(Machine::HOST, &code, targets)
    }

    fn segments(&self, kind: u32) -> impl Iterator<Item = &libc::Elf64_Phdr> {
        self.headers.iter().filter(move |header| header.p_type == kind)
    }

    /// Returns the bytes of a segment, or of a part of one that has its own header. The segments that are
    /// read here do not change once the loader is done.
    fn bytes(&self, header: &libc::Elf64_Phdr) -> &[u8] {
        let start = std::ptr::with_exposed_provenance(self.bias.wrapping_add(header.p_vaddr) as usize);
        // SAFETY: the loader has mapped the segment here, for as long as the module is loaded.
        unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) }
    }
}
