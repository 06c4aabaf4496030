//! Reads the coverage points of a binary from its ELF file, as plain data. The file is untrusted.

use super::trace_calls::{self, TRACE_PC};
use kcov_proto::region::{CALLBACKS, Extent, GUARD_BYTES, GUARDS, identity_of};
use kcov_proto::site::{ParsedSite, SECTION, Site};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ObjectSymbolTable, RelocationTarget};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Section with the address of each guard's block (clang and rustc, `-fsanitize-coverage=pc-table`).
const PC_TABLE: &str = "__sancov_pcs";
/// Size of an entry of [`PC_TABLE`], in bytes: address and flags.
const PC_ENTRY: usize = 16;
/// The callback of code with guards.
const TRACE_PC_GUARD: &str = "__sanitizer_cov_trace_pc_guard";

/// The site of a recording macro and the function that contains it; `None` for an invalid entry.
pub(super) type FoundSite = Option<(ParsedSite, Option<String>)>;

/// The coverage points of one binary.
#[derive(Debug)]
pub(super) struct Points {
    /// Determines the region of PCs.
    pub(super) extent: Extent,
    /// Whether the binary calls the coverage runtime.
    pub(super) is_instrumented: bool,
    /// Sites by index; `None` without a [`SECTION`] of sites.
    pub(super) sites: Option<Vec<FoundSite>>,
    /// Addresses of the guards' blocks by index; shorter than the number of guards if [`PC_TABLE`] is missing.
    pub(super) blocks: Vec<u64>,
    /// Return addresses of the calls to [`TRACE_PC`], ascending.
    pub(super) calls: Vec<u64>,
    /// Whether the binary has points that are in none of these lists.
    pub(super) has_others: bool,
}

/// Reads the points of a binary; `None` if it has no code.
pub(super) fn points(bytes: &[u8]) -> object::Result<Option<Points>> {
    let file = object::File::parse(bytes)?;
    let Some(text) = text(&file) else { return Ok(None) };
    let imports = imports(&file);
    let guards = file.section_by_name(GUARDS).map_or(0, |section| section.size() / GUARD_BYTES);
    let extent = Extent { identity: identity_of(file.build_id()?, &text), text, guards };
    let blocks = blocks(&file)?;
    let calls = trace_calls::find(&file, imports.get(TRACE_PC).map_or(&[], Vec::as_slice))?;
    let has_others = (guards as usize > blocks.len())
        || (guards == 0 && imports.contains_key(TRACE_PC_GUARD))
        || (calls.is_empty() && imports.contains_key(TRACE_PC));
    let is_instrumented = !imports.is_empty() || guards > 0;
    Ok(Some(Points { extent, is_instrumented, sites: sites(&file)?, blocks, calls, has_others }))
}

/// The range from the lowest executable segment to the end of the highest.
fn text(file: &object::File<'_>) -> Option<Range<u64>> {
    let code = || file.segments().filter(|segment| segment.permissions().executable());
    let start = code().map(|segment| segment.address()).min()?;
    let end = code().map(|segment| segment.address().saturating_add(segment.size())).max()?;
    Some(start..end)
}

/// The coverage callbacks that the binary imports, each with the addresses of the words that the loader fills in.
fn imports(file: &object::File<'_>) -> HashMap<String, Vec<u64>> {
    let mut imports: HashMap<String, Vec<u64>> = HashMap::new();
    let (Some(relocations), Some(symbols)) = (file.dynamic_relocations(), file.dynamic_symbol_table()) else {
        return imports;
    };
    for (address, relocation) in relocations {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let Ok(symbol) = symbols.symbol_by_index(index) else { continue };
        if let Some(name) = symbol.name().ok().filter(|name| name.starts_with(CALLBACKS)) {
            imports.entry(name.to_owned()).or_default().push(address);
        }
    }
    imports
}

/// The addresses in [`PC_TABLE`]. Position-independent binaries store them in relocations.
fn blocks(file: &object::File<'_>) -> object::Result<Vec<u64>> {
    let Some(section) = file.section_by_name(PC_TABLE) else { return Ok(Vec::new()) };
    let start = section.address();
    let relocated = relocated(file, start..start.saturating_add(section.size()));
    let block = |(address, entry): (u64, &[u8; PC_ENTRY])| {
        let stored = entry.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        relocated.get(&address).copied().unwrap_or(stored)
    };
    let (entries, _) = section.data()?.as_chunks::<PC_ENTRY>();
    Ok((start..).step_by(PC_ENTRY).zip(entries).map(block).collect())
}

/// The values that relocations write into a range of addresses.
fn relocated(file: &object::File<'_>, range: Range<u64>) -> BTreeMap<u64, u64> {
    let symbols = file.dynamic_symbol_table();
    let address_of = |target| match target {
        RelocationTarget::Absolute => Some(0),
        RelocationTarget::Symbol(index) => Some(symbols.as_ref()?.symbol_by_index(index).ok()?.address()),
        _ => None,
    };
    let relocations = file.dynamic_relocations().into_iter().flatten();
    relocations
        .filter(|(address, _)| range.contains(address))
        .filter_map(|(address, relocation)| {
            Some((address, address_of(relocation.target())?.wrapping_add_signed(relocation.addend())))
        })
        .collect()
}

/// The entries of the section of sites.
fn sites(file: &object::File<'_>) -> object::Result<Option<Vec<FoundSite>>> {
    let Some(section) = file.section_by_name(SECTION) else { return Ok(None) };
    let functions = functions(file, section.index());
    let (entries, _) = section.data()?.as_chunks::<{ Site::BYTES }>();
    let addresses = (section.address()..).step_by(Site::BYTES);
    let site = |(entry, address)| Some((ParsedSite::parse(entry)?, functions.get(&address).cloned()));
    Ok(Some(entries.iter().zip(addresses).map(site).collect()))
}

/// For each static in a section, the function that contains it, by the static's address.
fn functions(file: &object::File<'_>, section: object::SectionIndex) -> HashMap<u64, String> {
    file.symbols()
        .filter(|symbol| symbol.section_index() == Some(section) && symbol.size() == Site::BYTES as u64)
        .filter_map(|symbol| Some((symbol.address(), function(symbol.name().ok()?)?)))
        .collect()
}

/// The path of a static without its last component.
fn function(symbol: &str) -> Option<String> {
    // The alternate form omits the hash.
    let path = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    path.rsplit_once("::").map(|(function, _)| function.to_owned())
}

#[cfg(test)]
mod tests {
    use super::function;

    #[test]
    fn the_function_is_the_path_without_the_static() {
        for (symbol, expected) in [
            ("_ZN8handlers4open4SITE17h0123456789abcdefE", "handlers::open"),
            ("_ZN8handlers4open4SITE17h0123456789abcdefE.llvm.42", "handlers::open"),
            (
                "_ZN8handlers4open28_$u7b$$u7b$closure$u7d$$u7d$4SITE17h0123456789abcdefE",
                "handlers::open::{{closure}}",
            ),
            ("_RNvNvCs1234_8handlers4open4SITE", "handlers::open"),
        ] {
            assert_eq!(function(symbol).as_deref(), Some(expected), "{symbol}");
        }
        assert_eq!(function("kcov_sites"), None);
    }
}
