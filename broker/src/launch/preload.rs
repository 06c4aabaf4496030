//! Runtimes of sanitizers. A library that was built with a sanitizer needs its runtime to be loaded before
//! everything else, while the process may still read its environment and the name of its program.

use super::handlers;
use crate::sys::plain_file;
use anyhow::Context;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::path::Path;

/// Maximum size of a library that is looked at, in bytes.
const MAX_LIBRARY: u64 = 4 << 30;
/// How the names of runtimes begin, in the order in which they must be loaded.
const RUNTIMES: [&str; 4] = ["libasan.so", "libclang_rt.asan", "libubsan.so", "libclang_rt.ubsan"];

/// Options of sanitizers. A report must end the process by a signal. Signals are handled by the worker's own
/// crash recorder. Workers also get `symbolize=0`, because the broker looks symbols up later, outside of the
/// jail.
const OPTIONS: [(&str, &str); 2] = [
    (
        "ASAN_OPTIONS",
        "abort_on_error=1:halt_on_error=1:color=never:detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0:\
         handle_sigfpe=0:handle_sigill=0:allocator_may_return_null=1",
    ),
    (
        "UBSAN_OPTIONS",
        "abort_on_error=1:halt_on_error=1:color=never:print_stacktrace=0:handle_segv=0:handle_sigbus=0:\
        handle_abort=0:handle_sigfpe=0:handle_sigill=0",
    ),
];

/// The environment of a worker program: options of sanitizers, and nothing from the user's environment.
pub fn environment(preload: Option<&str>, symbolize: bool) -> impl Iterator<Item = (&'static str, String)> {
    let symbolize = u8::from(symbolize);
    let options = OPTIONS.map(|(name, options)| (name, format!("{options}:symbolize={symbolize}")));
    options.into_iter().chain(preload.map(|libraries| ("LD_PRELOAD", libraries.to_owned())))
}

/// The runtimes that libraries with handlers need, as a value of `LD_PRELOAD`. This only reads their files.
///
/// # Errors
/// If the name of a runtime contains a NUL byte. A file that is not ELF is skipped; the loader refuses it
/// later.
pub fn of(names: &[OsString]) -> anyhow::Result<Option<CString>> {
    let mut libraries = BTreeSet::new();
    for handler in names {
        let (path, _) = handlers::split(handler);
        let Ok(file) = plain_file::read(Path::new(path), MAX_LIBRARY) else { continue };
        let Needs { libraries: names, paths } = needs(&file).unwrap_or_default();
        libraries.extend(names.into_iter().filter_map(|name| {
            let place = RUNTIMES.iter().position(|runtime| name.starts_with(runtime))?;
            // The loader searches these directories for needed libraries, but not for those in `LD_PRELOAD`.
            let mut files = paths.iter().map(|directory| format!("{directory}/{name}"));
            // `LD_PRELOAD` is separated by blanks.
            let found = files.find(|path| !path.contains(' ') && Path::new(path).is_file());
            Some((place, found.unwrap_or(name)))
        }));
    }
    let names: Vec<String> = libraries.into_iter().map(|(_, name)| name).collect();
    let joined = (!names.is_empty()).then(|| CString::new(names.join(" ")));
    joined.transpose().context("the name of a runtime")
}

/// The dynamic section of an ELF file.
#[derive(Debug, Default)]
struct Needs {
    /// Names of needed libraries.
    libraries: Vec<String>,
    /// Directories to search them in.
    paths: Vec<String>,
}

fn needs(bytes: &[u8]) -> Option<Needs> {
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
    let names = |tags: &[object::elf::DynamicTag]| -> Vec<String> {
        let entries = dynamic.iter().filter(|entry| tags.contains(&entry.tag(endian)));
        entries.filter_map(|entry| name(entry.d_val(endian))).collect()
    };
    let paths = names(&[object::elf::DT_RUNPATH, object::elf::DT_RPATH]);
    let paths = paths.iter().flat_map(|paths| paths.split(':')).map(ToOwned::to_owned);
    Some(Needs { libraries: names(&[object::elf::DT_NEEDED]), paths: paths.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_libc_but_no_runtime() {
        let program = std::fs::read(std::env::current_exe().expect("a program")).expect("its file");
        let needs = needs(&program).expect("ELF");
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
        let handler = std::env::current_exe().expect("a program").into_os_string();
        assert_eq!(of(&[handler]).expect("readable"), None);
        assert!(super::needs(b"not ELF").is_none() && super::needs(&program[..100]).is_none());
    }
}
