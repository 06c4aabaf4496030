//! Sanitizers' runtimes: a library that was built with one needs it loaded before everything else.

use anyhow::Context;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Beginnings of the names of runtimes that must come first.
const RUNTIMES: [&str; 2] = ["libasan.so", "libclang_rt.asan"];

/// The runtime that one of the handlers needs to have loaded first; none of their code runs here.
///
/// # Errors
/// If a file that is ELF cannot be read to its end. One that is none is for the loader to refuse.
pub fn of(handlers: &[OsString]) -> anyhow::Result<Option<CString>> {
    for handler in handlers {
        let bytes = handler.as_bytes();
        let end = bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len());
        let path = Path::new(OsStr::from_bytes(&bytes[..end]));
        let Ok(file) = std::fs::read(path) else { continue };
        let needed = needed(&file).unwrap_or_default();
        if let Some(runtime) =
            needed.into_iter().find(|name| RUNTIMES.iter().any(|runtime| name.starts_with(runtime)))
        {
            return CString::new(runtime).map(Some).context("the name of a runtime");
        }
    }
    Ok(None)
}

/// Names of the libraries that an ELF file needs.
fn needed(bytes: &[u8]) -> Option<Vec<String>> {
    let file = ElfFile64::<object::NativeEndian>::parse(bytes).ok()?;
    let (endian, header) = (file.endian(), file.elf_header());
    let segments = header.program_headers(endian, bytes).ok()?;
    let dynamic = segments.iter().find_map(|segment| segment.dynamic(endian, bytes).ok().flatten())?;
    let value = |tag: object::elf::DynamicTag| {
        dynamic.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.d_val(endian))
    };
    let table = value(object::elf::DT_STRTAB)?;
    let names = segments.iter().find_map(|segment| {
        let start = segment.p_vaddr(endian);
        let within = (start..start.checked_add(segment.p_filesz(endian))?).contains(&table);
        let data = segment.data(endian, bytes).ok()?;
        within.then(|| data.get(usize::try_from(table - start).ok()?..)).flatten()
    })?;
    let name = |offset: u64| {
        let rest = names.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        String::from_utf8(rest[..end].to_vec()).ok()
    };
    let entries = dynamic.iter().filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED);
    Some(entries.filter_map(|entry| name(entry.d_val(endian))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_its_c_library_and_no_runtime() {
        let program = std::fs::read(std::env::current_exe().expect("a program")).expect("its file");
        let needed = needed(&program).expect("ELF");
        assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
        let handler = std::env::current_exe().expect("a program").into_os_string();
        assert_eq!(of(&[handler]).expect("readable"), None);
        assert!(super::needed(b"no ELF").is_none() && super::needed(&program[..100]).is_none());
    }
}
