//! The points of a worker program and of the libraries that it loads.

use super::location::Location;
use super::module::Module;
use kcov_proto::region::Layout;
use kcov_proto::site::SECTION;
use std::path::{Path, PathBuf};

/// Why a binary gives no points.
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
    /// It has nothing to be executed.
    #[error("{} has no code", path.display())]
    NoCode {
        /// The binary.
        path: PathBuf,
    },
    /// It is given as a worker program, and is none.
    #[error("{} has no section {SECTION}: it is no worker program", path.display())]
    NoSites {
        /// The binary.
        path: PathBuf,
    },
}

/// The points of a program and its libraries, by PC.
///
/// The files may come from anywhere: they are parsed with bounds, never run.
#[derive(Debug)]
pub struct Symbolizer {
    modules: Vec<Module>,
}

impl Symbolizer {
    /// Reads a worker program, and libraries in the order in which a run loads them. The order matters only where two
    /// libraries would have the same PCs, see [`kcov_proto::region`].
    ///
    /// # Errors
    /// If one cannot be read or is no ELF file, or the program has no sites.
    pub fn new<'a>(
        program: &Path,
        libraries: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Self, SymbolizeError> {
        let mut layout = Layout::new();
        let mut modules = vec![Module::program(program, &layout)?];
        for library in libraries {
            modules.push(Module::library(library, &mut layout)?);
        }
        Ok(Symbolizer { modules })
    }

    /// The program and its libraries.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Where `pc` is, be it exact or with the 4 or 5 subtracted that symbolisers of kernels subtract. `None` for an
    /// explicit id, and for a PC of another binary.
    #[must_use]
    pub fn resolve(&self, pc: u64) -> Option<Location> {
        self.modules.iter().find_map(|module| module.resolve(pc))
    }

    /// Whether `pc` is one of a binary's instrumented code, even if that does not say where it is.
    #[must_use]
    pub fn has(&self, pc: u64) -> bool {
        self.modules.iter().filter_map(Module::region).any(|region| region.pcs().contains(&pc))
    }

    /// All points that can be covered, each with its PC, see [`Module::points`].
    pub fn points(&self) -> impl Iterator<Item = (u64, Option<Location>)> {
        self.modules.iter().flat_map(Module::points)
    }
}
