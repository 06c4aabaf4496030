//! Translates PCs into function, file and line, from the binaries of the handlers.
//!
//! Nothing is executed and no broker needs to run: the binaries determine every PC. PCs of recording macros follow from
//! the link section of sites in the worker program ([`kcov_proto::site`]). PCs of instrumented code follow from the
//! return addresses of its callbacks or from its guards ([`kcov_proto::region`]).
//!
//! The binaries are untrusted input: they are parsed with bounds checks and never run.

mod debug_info;
mod elf;
mod flow;
mod location;
mod module;
mod trace_calls;

pub use debug_info::{SourceFrame, SourceLine, frames_at};
pub use location::{Kind, Location};
pub use module::{Module, SymbolizeError};

use kcov_proto::region::Layout;
use std::path::Path;

/// The coverage points of a worker program and its libraries, by PC.
#[derive(Debug)]
pub struct Symbolizer {
    modules: Vec<Module>,
}

impl Symbolizer {
    /// Reads a worker program, and its libraries in the order in which the run loaded them. The order only matters if
    /// two libraries would get the same PCs, see [`kcov_proto::region`].
    ///
    /// # Errors
    /// If a binary cannot be read or is not a valid ELF file, or if the program has no sites.
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

    /// The program, then its libraries.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Returns the source location of `pc`. Accepts the exact PC, and the PC minus 4 or 5, which is what kernel
    /// symbolizers look up. Returns `None` for explicit ids and for PCs of other binaries.
    #[must_use]
    pub fn resolve(&self, pc: u64) -> Option<Location> {
        self.modules.iter().find_map(|module| module.resolve(pc))
    }

    /// Returns whether `pc` lies in the instrumented code of a module, even if its location is unknown.
    #[must_use]
    pub fn has(&self, pc: u64) -> bool {
        self.modules.iter().filter_map(Module::region).any(|region| region.pcs().contains(&pc))
    }

    /// All points that can be covered, see [`Module::points`].
    pub fn points(&self) -> impl Iterator<Item = (u64, Option<Location>)> {
        self.modules.iter().flat_map(Module::points)
    }
}
