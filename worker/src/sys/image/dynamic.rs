//! The dynamic section of a loaded module: which functions the module calls.

use kcov_proto::region::CALLBACKS;
use std::ffi::{CStr, c_char};
use std::ptr::with_exposed_provenance;

/// Tags of the section's entries (`elf.h`).
const DT_PLTRELSZ: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_JMPREL: u64 = 23;

/// `Elf64_Rela`.
#[repr(C)]
struct Relocation {
    offset: u64,
    info: u64,
    addend: i64,
}

/// `Elf64_Sym`.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// The entries of the section.
struct Dynamic<'a> {
    entries: &'a [[u8; 16]],
    bias: u64,
}

/// Returns whether a relocation of the module names a callback of instrumented code.
///
/// # Safety
/// `section` is the dynamic section of a module that is loaded with this bias.
pub(super) unsafe fn names_callback(section: &[u8], bias: u64) -> bool {
    let is_callback = |name: &CStr| name.to_bytes().starts_with(CALLBACKS.as_bytes());
    let dynamic = Dynamic { entries: section.as_chunks().0, bias };
    // SAFETY: by the contract.
    unsafe { dynamic.relocations_of(is_callback) }.next().is_some()
}

/// Returns the file addresses of the words into which the loader has written the address of this function.
/// `own`: its address in the file, if it is in this module.
///
/// # Safety
/// As [`names_callback`].
pub(super) unsafe fn words_of(section: &[u8], bias: u64, function: &str, own: Option<u64>) -> Vec<u64> {
    let is_function = |name: &CStr| name.to_bytes() == function.as_bytes();
    let dynamic = Dynamic { entries: section.as_chunks().0, bias };
    // SAFETY: by the contract.
    let named = unsafe { dynamic.relocations_of(is_function) };
    // A relocation without a symbol adds the bias to its addend.
    let is_own = |it: &&Relocation| it.info >> 32 == 0 && own == Some(it.addend.cast_unsigned());
    // SAFETY: by the contract.
    let unnamed = unsafe { dynamic.relocations(DT_RELA, DT_RELASZ) }.iter().filter(is_own);
    named.chain(unnamed).map(|relocation| relocation.offset).collect()
}

impl<'a> Dynamic<'a> {
    /// Returns the relocations by a symbol whose name `is_one` accepts.
    ///
    /// # Safety
    /// The section is that of a loaded module.
    unsafe fn relocations_of(&self, is_one: impl Fn(&CStr) -> bool) -> impl Iterator<Item = &'a Relocation> {
        let tables = self.address(DT_SYMTAB).zip(self.address(DT_STRTAB));
        let is_named = move |relocation: &&Relocation| {
            let index = (relocation.info >> 32) as usize;
            let Some((symbols, names)) = tables.filter(|_| index != 0) else { return false };
            // SAFETY: by the contract; the loader has resolved the relocation by this symbol.
            let symbol = unsafe { &*with_exposed_provenance::<Symbol>(symbols).add(index) };
            let name = with_exposed_provenance::<c_char>(names + symbol.name as usize);
            // SAFETY: by the contract, its name is in the table.
            is_one(unsafe { CStr::from_ptr(name) })
        };
        // SAFETY: by the contract.
        let table = |(table, size)| unsafe { self.relocations(table, size) };
        let tables = [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)].map(table);
        tables.into_iter().flatten().filter(is_named)
    }

    fn value(&self, tag: u64) -> Option<u64> {
        self.entries.iter().find_map(|entry| {
            let (found, value) =
                (u64::from_ne_bytes(*entry.first_chunk()?), u64::from_ne_bytes(*entry.last_chunk()?));
            (found == tag).then_some(value)
        })
    }

    /// Returns the value of an entry as an address of this process. glibc adds the bias in place, unless the
    /// section is read-only; other C libraries do not.
    fn address(&self, tag: u64) -> Option<usize> {
        let value = self.value(tag).filter(|value| *value != 0)?;
        Some(if value < self.bias { self.bias.wrapping_add(value) } else { value } as usize)
    }

    /// # Safety
    /// The section is that of a loaded module.
    unsafe fn relocations(&self, table: u64, size: u64) -> &'a [Relocation] {
        let (Some(table), Some(size)) = (self.address(table), self.value(size)) else { return &[] };
        let length = size as usize / size_of::<Relocation>();
        // SAFETY: by the contract, the loader found this number of relocations there, and they do not change.
        unsafe { std::slice::from_raw_parts(with_exposed_provenance(table), length) }
    }
}
