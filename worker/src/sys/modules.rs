//! The program and libraries that are loaded into this process.

use super::image::{self, Image};
use super::sancov;
use kcov_proto::message::{LoadedModule, MAX_MODULES};

/// Longest path that is reported.
const MOST_PATH: usize = 256;

/// Returns the program and its libraries, at most [`MAX_MODULES`].
#[must_use]
pub fn loaded() -> Vec<LoadedModule> {
    let mut modules: Vec<LoadedModule> = Vec::new();
    image::each(|image| {
        if modules.len() < MAX_MODULES {
            modules.extend(module(image));
        }
    });
    modules
}

fn module(image: &Image<'_>) -> Option<LoadedModule> {
    let (text, bias) = (image.text()?, image.bias());
    let path = resolve(image.name().to_string_lossy().into_owned());
    let (start, end) = (text.start.wrapping_add(bias), text.end.wrapping_add(bias));
    Some(LoadedModule { path, start, end, bias, pcs: sancov::pcs_of(start) })
}

/// Resolves a name of the loader's list: the program's is empty, and that of a library that was loaded by
/// descriptor is a link in procfs. Returns an empty path if it is too long.
fn resolve(path: String) -> String {
    let link = if path.is_empty() { "/proc/self/exe" } else { path.as_str() };
    let target = link.starts_with("/proc/self/").then(|| std::fs::read_link(link).ok()).flatten();
    let path = target.map_or(path, |target| target.display().to_string());
    if path.len() <= MOST_PATH { path } else { String::new() }
}
