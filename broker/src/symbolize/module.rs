//! One binary: its coverage points and their source locations.

use super::debug_info::{SourceLine, frames_at, lines_of};
use super::elf::{self, FoundSite, Points};
use super::flow::Flow;
use super::location::{Kind, Location};
use crate::sys::plain_file;
use addr2line::Loader;
use kcov_proto::region::{Layout, Placed, Point, Region};
use kcov_proto::site::{SECTION, index_of_pc, pc_of_index};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Maximum size of a binary, in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// Why a binary cannot be symbolized.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizeError {
    /// Reading the file failed.
    #[error("cannot read {}", path.display())]
    Read {
        /// The binary.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not a valid ELF file.
    #[error("{} is not a valid ELF file", path.display())]
    Parse {
        /// The binary.
        path: PathBuf,
        /// The cause.
        source: object::Error,
    },
    /// No executable segment.
    #[error("{} has no code", path.display())]
    NoCode {
        /// The binary.
        path: PathBuf,
    },
    /// Given as the worker program, but without the section of sites.
    #[error("{} is not a worker program: it has no section {SECTION}", path.display())]
    NoSites {
        /// The binary.
        path: PathBuf,
    },
}

/// A worker program or a library of handlers.
pub struct Module {
    path: PathBuf,
    points: Points,
    region: Option<Region>,
    /// Sites by index; only the worker program has any.
    sites: Vec<Option<Location>>,
    /// DWARF, loaded on first use.
    loader: OnceCell<Option<Loader>>,
    /// Basic blocks, decoded on first use.
    flow: OnceCell<Flow>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("path", &self.path)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Points, SymbolizeError> {
    let bytes = plain_file::read(path, MAX_BYTES)
        .map_err(|source| SymbolizeError::Read { path: path.into(), source })?;
    match elf::points(&bytes) {
        Ok(Some(points)) => Ok(points),
        Ok(None) => Err(SymbolizeError::NoCode { path: path.into() }),
        Err(source) => Err(SymbolizeError::Parse { path: path.into(), source }),
    }
}

impl Module {
    /// Reads the worker program, which comes before all libraries.
    pub(super) fn program(path: &Path, layout: &Layout) -> Result<Self, SymbolizeError> {
        let mut points = read(path)?;
        let Some(sites) = points.sites.take() else {
            return Err(SymbolizeError::NoSites { path: path.into() });
        };
        let locate = |site: FoundSite| site.map(|(site, function)| Location::of_site(site, function));
        let sites = sites.into_iter().map(locate).collect();
        let placed = layout.program(points.extent.clone());
        Ok(Module { sites, ..Module::new(path, points, Some(&placed)) })
    }

    /// Reads a library. Libraries must be read in the order in which they are loaded.
    pub(super) fn library(path: &Path, layout: &mut Layout) -> Result<Self, SymbolizeError> {
        let points = read(path)?;
        let placed = points.is_instrumented.then(|| layout.place(points.extent.clone()));
        Ok(Module::new(path, points, placed.as_ref()))
    }

    fn new(path: &Path, points: Points, placed: Option<&Placed>) -> Self {
        let region = placed.and_then(Placed::region).cloned();
        Module {
            path: path.into(),
            points,
            region,
            sites: Vec::new(),
            loader: OnceCell::new(),
            flow: OnceCell::new(),
        }
    }

    /// Path of the binary.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The PCs of its instrumented code; `None` if there is none, or if the layout has no room for it.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Whether [`points`](Self::points) has all points: `false` for guards without a table of their addresses.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.points.has_others
    }

    /// Returns the location of `pc` if it is a PC of this module.
    #[must_use]
    pub fn resolve(&self, pc: u64) -> Option<Location> {
        match index_of_pc(pc) {
            Some(index) => self.sites.get(usize::try_from(index).ok()?)?.clone(),
            None => match self.region.as_ref()?.point(pc)? {
                Point::Guard(index) => self.guard(usize::try_from(index).ok()?),
                Point::Call { to } => self.call(to),
            },
        }
    }

    fn guard(&self, index: usize) -> Option<Location> {
        self.locate(Kind::Guard, *self.points.blocks.get(index)?)
    }

    /// The location of the call instruction, which ends just before its return address.
    fn call(&self, to: u64) -> Option<Location> {
        self.locate(Kind::Callback, to.checked_sub(1)?)
    }

    fn loader(&self) -> Option<&Loader> {
        self.loader.get_or_init(|| Loader::new(&self.path).ok()).as_ref()
    }

    fn locate(&self, kind: Kind, address: u64) -> Option<Location> {
        Location::of_frames(kind, frames_at(self.loader()?, address))
    }

    /// The source lines of the point's basic block, which run whenever the point is reached. `None` for sites, whose
    /// blocks are unknown, and for binaries without line numbers.
    #[must_use]
    pub fn lines(&self, pc: u64) -> Option<BTreeSet<SourceLine>> {
        let (point, loader) = (self.region.as_ref()?.point(pc)?, self.loader()?);
        let flow = self.flow.get_or_init(|| self.read_flow().unwrap_or_default());
        let code = match point {
            Point::Guard(index) => {
                let block = *self.points.blocks.get(usize::try_from(index).ok()?)?;
                [block..block, flow.of_guard(block)]
            }
            Point::Call { to } => flow.of_call(to)?,
        };
        Some(code.into_iter().flat_map(|range| lines_of(loader, range)).collect())
    }

    fn read_flow(&self) -> Option<Flow> {
        let bytes = plain_file::read(&self.path, MAX_BYTES).ok()?;
        let file = object::File::parse(&*bytes).ok()?;
        Flow::of(&file, &self.points.blocks, &self.points.calls).ok()
    }

    /// All points that can be covered, with their PCs: sites, guards, calls to `trace_pc`. The location is `None` if
    /// the binary does not have it.
    pub fn points(&self) -> impl Iterator<Item = (u64, Option<Location>)> {
        let sites = (0..)
            .zip(&self.sites)
            .filter_map(|(index, site)| Some((pc_of_index(index), Some(site.clone()?))));
        let guards = self.region.iter().flat_map(|region| {
            let guards = (0..).zip(&self.points.blocks);
            guards.map(|(index, block)| (region.pc_of_guard(index), self.locate(Kind::Guard, *block)))
        });
        let calls = self
            .region
            .iter()
            .flat_map(|region| self.points.calls.iter().map(|to| (region.pc_of_return(*to), self.call(*to))));
        sites.chain(guards).chain(calls)
    }
}
