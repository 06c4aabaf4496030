//! The sites of one binary.

use kcov_proto::site::{ParsedSite, SECTION, Site, SiteKind, index_of_pc};
use object::{Object, ObjectSection, ObjectSymbol};
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a binary gives no sites.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizeError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The binary.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no ELF file, or a damaged one.
    #[error("{} is no ELF file that can be read", path.display())]
    Parse {
        /// The binary.
        path: PathBuf,
        /// Why.
        source: object::Error,
    },
    /// It was built without sites.
    #[error("{} has no section {SECTION}: no handler in it records coverage", path.display())]
    NoSites {
        /// The binary.
        path: PathBuf,
    },
}

/// Where a PC is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The function around the site; its module, if the binary has no symbols.
    pub function: String,
    /// Path of the source file, or its tail if that is very long.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// Name of the site, if it was given one.
    pub name: Option<String>,
    /// What the site marks.
    #[serde(serialize_with = "as_word")]
    pub kind: SiteKind,
    /// Stable from build to build.
    pub hash: u64,
}

fn as_word<S: Serializer>(kind: &SiteKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}:{}", self.function, self.file, self.line, self.column)
    }
}

/// The sites of one binary, by index.
#[derive(Debug)]
pub struct Symbolizer {
    sites: Vec<Option<Location>>,
}

impl Symbolizer {
    /// Reads the sites of a binary, which may come from anywhere: it is parsed with bounds, never run.
    ///
    /// # Errors
    /// If it cannot be read, is no ELF file, or has no sites.
    pub fn from_file(path: &Path) -> Result<Self, SymbolizeError> {
        let bytes =
            std::fs::read(path).map_err(|source| SymbolizeError::Read { path: path.into(), source })?;
        match sites(&bytes) {
            Ok(Some(sites)) => Ok(Symbolizer { sites }),
            Ok(None) => Err(SymbolizeError::NoSites { path: path.into() }),
            Err(source) => Err(SymbolizeError::Parse { path: path.into(), source }),
        }
    }

    /// Where `pc` is, be it exact or with the 4 or 5 subtracted that symbolisers of kernels subtract. `None` for an
    /// explicit id, and for a PC of another binary.
    #[must_use]
    pub fn resolve(&self, pc: u64) -> Option<&Location> {
        let index = usize::try_from(index_of_pc(pc)?).ok()?;
        self.sites.get(index)?.as_ref()
    }

    /// All sites with their index, in the order of their PCs.
    pub fn sites(&self) -> impl Iterator<Item = (u64, &Location)> {
        (0..).zip(&self.sites).filter_map(|(index, site)| Some((index, site.as_ref()?)))
    }
}

fn sites(bytes: &[u8]) -> object::Result<Option<Vec<Option<Location>>>> {
    let file = object::File::parse(bytes)?;
    let Some(section) = file.section_by_name(SECTION) else { return Ok(None) };
    let functions = functions(&file, section.index());
    let (entries, _) = section.data()?.as_chunks::<{ Site::BYTES }>();
    let addresses = (section.address()..).step_by(Site::BYTES);
    let locate = |(entry, address)| Some(locate(ParsedSite::parse(entry)?, functions.get(&address).cloned()));
    Ok(Some(entries.iter().zip(addresses).map(locate).collect()))
}

fn locate(site: ParsedSite, function: Option<String>) -> Location {
    let ParsedSite { kind, hash, line, column, file, module, name } = site;
    let function = function.unwrap_or(module);
    let name = (!name.is_empty()).then_some(name);
    Location { function, file, line, column, name, kind, hash }
}

/// The function around each static of a section, by address: its path less the name of the static.
fn functions(file: &object::File<'_>, section: object::SectionIndex) -> HashMap<u64, String> {
    file.symbols()
        .filter(|symbol| symbol.section_index() == Some(section) && symbol.size() == Site::BYTES as u64)
        .filter_map(|symbol| Some((symbol.address(), function(symbol.name().ok()?)?)))
        .collect()
}

fn function(symbol: &str) -> Option<String> {
    // The alternate form leaves the hash out.
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
