//! Sanitizers' runtimes: a library that was built with one needs it loaded before everything else, and while the
//! process may still read its environment and its own name.

use super::handlers;
use anyhow::Context;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::path::Path;

/// Beginnings of the names of runtimes, in the order in which they must come.
const RUNTIMES: [&str; 4] = ["libasan.so", "libclang_rt.asan", "libubsan.so", "libclang_rt.ubsan"];

/// What sanitizers are told, with `symbolize=0` in a worker: symbols are found later, outside of the jail. A report ends
/// the process by a signal; signals themselves are recorded by others.
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

/// The environment of a worker program: what sanitizers need to know, and nothing of the user's.
pub fn environment(preload: Option<&str>, symbolize: bool) -> impl Iterator<Item = (&'static str, String)> {
    let symbolize = u8::from(symbolize);
    let options = OPTIONS.map(|(name, options)| (name, format!("{options}:symbolize={symbolize}")));
    options.into_iter().chain(preload.map(|libraries| ("LD_PRELOAD", libraries.to_owned())))
}

/// The runtimes that the handlers need to have loaded first, as the loader takes them; none of their code runs here.
///
/// # Errors
/// If a file that is ELF cannot be read to its end. One that is none is for the loader to refuse.
pub fn of(names: &[OsString]) -> anyhow::Result<Option<CString>> {
    let mut libraries = BTreeSet::new();
    for handler in names {
        let (path, _) = handlers::split(handler);
        let Ok(file) = std::fs::read(path) else { continue };
        let Needs { libraries: names, paths } = needs(&file).unwrap_or_default();
        libraries.extend(names.into_iter().filter_map(|name| {
            let place = RUNTIMES.iter().position(|runtime| name.starts_with(runtime))?;
            // The loader itself would look there for a library that needs it, not for one that comes first.
            let mut files = paths.iter().map(|folder| format!("{folder}/{name}"));
            // A blank would make two names of it.
            let found = files.find(|path| !path.contains(' ') && Path::new(path).is_file());
            Some((place, found.unwrap_or(name)))
        }));
    }
    let names: Vec<String> = libraries.into_iter().map(|(_, name)| name).collect();
    let joined = (!names.is_empty()).then(|| CString::new(names.join(" ")));
    joined.transpose().context("the name of a runtime")
}

/// What an ELF file needs of the loader.
#[derive(Debug, Default)]
struct Needs {
    /// Names of the libraries.
    libraries: Vec<String>,
    /// Folders in which it has them looked for.
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
    fn a_program_needs_its_c_library_and_no_runtime() {
        let program = std::fs::read(std::env::current_exe().expect("a program")).expect("its file");
        let needs = needs(&program).expect("ELF");
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
        let handler = std::env::current_exe().expect("a program").into_os_string();
        assert_eq!(of(&[handler]).expect("readable"), None);
        assert!(super::needs(b"no ELF").is_none() && super::needs(&program[..100]).is_none());
    }
}
