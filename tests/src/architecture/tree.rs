//! The product's packages as files of product code.

use crate::architecture::graph::Graph;
use crate::architecture::lexer::tokens;
use crate::architecture::lines::function_lengths;
use crate::architecture::paths::{Module, used_modules};
use crate::architecture::test_code::split;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug)]
pub struct SourceFile {
    /// From the root of the workspace, as `broker/src/cli.rs`.
    pub path: String,
    module: Module,
    text: String,
}

/// The sources of one package, without the files of its test modules.
#[derive(Debug)]
pub struct Package {
    /// Directory of the sources from the root of the workspace, as `broker/src`.
    pub sources: String,
    /// Every file, by path.
    pub files: Vec<SourceFile>,
}

/// Reads the packages in `directories` of the workspace `root`, and those nested in them.
///
/// # Errors
/// When a file cannot be read, or there is no package.
pub fn packages(root: &Path, directories: &[&str]) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    let mut pending: Vec<PathBuf> = directories.iter().map(|name| root.join(name)).collect();
    while let Some(directory) = pending.pop() {
        if directory.join("Cargo.toml").is_file() {
            packages.push(Package::read(root, &directory.join("src"))?);
            pending.extend(entries(&directory)?.into_iter().filter(|path| path.is_dir()));
        }
    }
    ensure!(packages.len() >= directories.len(), "a package of {directories:?} is missing");
    Ok(packages)
}

impl Package {
    fn read(root: &Path, sources: &Path) -> Result<Self> {
        let mut files = Vec::new();
        add_files(root, sources, sources, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tests: BTreeSet<Module> = files.iter().flat_map(SourceFile::test_modules).collect();
        files.retain(|file| !tests.iter().any(|test| file.module.starts_with(test)));
        Ok(Self { sources: relative(root, sources)?, files })
    }

    /// Which file uses which.
    #[must_use]
    pub fn uses(&self) -> Graph {
        let paths: BTreeMap<Module, &str> =
            self.files.iter().rev().map(|file| (file.module.clone(), file.path.as_str())).collect();
        let modules: BTreeSet<Module> = paths.keys().cloned().collect();
        let mut graph = Graph::default();
        for file in &self.files {
            let product = split(&tokens(&file.text)).0;
            for used in used_modules(&product, &file.module, &modules) {
                graph.add(&file.path, paths[&used]);
            }
        }
        graph
    }

    /// The top-level module of a file, or nothing for the root of a crate.
    #[must_use]
    pub fn room<'a>(&self, path: &'a str) -> Option<&'a str> {
        let inside = path.strip_prefix(&self.sources)?.trim_start_matches('/');
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main"].contains(&room)).then_some(room)
    }
}

impl SourceFile {
    /// Lines of the file without test code.
    #[must_use]
    pub fn length(&self) -> usize {
        let tests = split(&tokens(&self.text)).1.lines;
        self.text.lines().count() - tests.iter().map(|lines| lines.clone().count()).sum::<usize>()
    }

    /// Lines in the body of each function that is not test code.
    #[must_use]
    pub fn function_lengths(&self) -> Vec<usize> {
        function_lengths(&split(&tokens(&self.text)).0)
    }

    /// Lines with the keyword `unsafe`.
    #[must_use]
    pub fn unsafe_lines(&self) -> Vec<usize> {
        tokens(&self.text).iter().filter(|token| token.text == "unsafe").map(|token| token.line).collect()
    }

    /// Returns whether the file is where unsafe code may be: `sys.rs`, or below a folder `sys`.
    #[must_use]
    pub fn may_be_unsafe(&self) -> bool {
        self.path.split('/').any(|part| part == "sys" || part == "sys.rs")
    }

    fn test_modules(&self) -> Vec<Module> {
        let tokens = tokens(&self.text);
        let names = split(&tokens).1.modules;
        names.into_iter().map(|name| [self.module.as_slice(), &[name.to_owned()]].concat()).collect()
    }
}

fn add_files(root: &Path, sources: &Path, directory: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    for path in entries(directory)? {
        if path.is_dir() {
            add_files(root, sources, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let module = module_of(&relative(sources, &path)?);
            files.push(SourceFile { path: relative(root, &path)?, module, text });
        }
    }
    Ok(())
}

/// The module that the file at `path`, from the directory of the sources, holds.
fn module_of(path: &str) -> Module {
    let mut module: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&module[0].as_str()) {
        module.pop();
    }
    module
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    read.map(|entry| Ok(entry?.path())).collect()
}

fn relative(base: &Path, path: &Path) -> Result<String> {
    Ok(path.strip_prefix(base)?.to_str().context("a source path is not UTF-8")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::module_of;

    #[test]
    fn file_names_become_module_paths() {
        assert_eq!(module_of("a/b.rs"), ["a", "b"]);
        assert_eq!(module_of("a/mod.rs"), ["a"]);
        assert!(module_of("lib.rs").is_empty());
    }
}
