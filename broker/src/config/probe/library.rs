//! Checks libraries with handlers. It only reads their files and runs none of their code.

use crate::sys::plain_file;
use anyhow::{Context, bail, ensure};
use object::elf::ET_DYN;
use object::read::elf::{ElfFile64, FileHeader};
use object::{NativeEndian, Object, ObjectSymbol, ReadCache};
use std::path::Path;

/// The function that a library with a handler exports (`kcov_handler.h`).
const ENTRY: &[u8] = b"kcov_handler_v1";

/// The machine that this program is built for, in ELF's terms.
#[cfg(target_arch = "x86_64")]
const MACHINE: object::elf::Machine = object::elf::EM_X86_64;
/// The machine that this program is built for, in ELF's terms.
#[cfg(target_arch = "aarch64")]
const MACHINE: object::elf::Machine = object::elf::EM_AARCH64;

/// Checks that a file is a library for this machine that exports a handler.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let file = plain_file::open(path).with_context(|| format!("cannot open the handler {shown}"))?;
    let cache = ReadCache::new(file);
    let Ok(file) = ElfFile64::<NativeEndian, _>::parse(&cache) else {
        bail!("{shown} is not a library (a 64-bit ELF file): build it with cc -shared -fPIC");
    };
    let (endian, header) = (file.endian(), file.elf_header());
    ensure!(
        header.e_type(endian) == ET_DYN,
        "{shown} is not a shared library: build it with cc -shared -fPIC"
    );
    ensure!(header.e_machine(endian) == MACHINE, "{shown} is built for another type of machine");
    let is_entry = |symbol: object::read::elf::ElfSymbol64<'_, '_, NativeEndian, _>| {
        symbol.is_definition() && symbol.name_bytes() == Ok(ENTRY)
    };
    ensure!(
        file.dynamic_symbols().any(is_entry),
        "{shown} does not export `{}`, so it is not a handler (see man kcov-handler)",
        String::from_utf8_lossy(ENTRY)
    );
    Ok(())
}
