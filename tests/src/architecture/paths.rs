//! Finds which modules of its own crate a file names, in `use` declarations and in paths inside code.

use crate::architecture::lexer::{Token, closing};
use std::collections::{BTreeMap, BTreeSet};

/// A module's path from the root of its crate.
pub type Module = Vec<String>;

/// The module files that the product code of `file` uses, other than itself. `modules` are the crate's files.
///
/// A path counts for the deepest module that has a file. A `mod x;` is not a use; `x::f()` is.
#[must_use]
pub fn used_modules(tokens: &[Token<'_>], file: &Module, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut scanner = Scanner { file, modules, inline: Vec::new(), names: child_names(tokens, file) };
    scanner.add_imported_names(tokens);
    let mut used = scanner.scan(tokens);
    used.remove(file);
    used
}

struct Scanner<'a> {
    file: &'a Module,
    modules: &'a BTreeSet<Module>,
    /// Modules with a body in this file, around the current position: name, and index of the closing brace.
    inline: Vec<(&'a str, usize)>,
    /// Names in this file that stand for a module: its children and what it imported.
    names: BTreeMap<&'a str, Module>,
}

impl<'a> Scanner<'a> {
    fn scan(&mut self, tokens: &[Token<'a>]) -> BTreeSet<Module> {
        let mut used = BTreeSet::new();
        let mut index = 0;
        while index < tokens.len() {
            self.follow_inline_modules(tokens, index);
            let (paths, next) = paths_at(tokens, index);
            used.extend(paths.iter().filter_map(|path| self.deepest_file(&path.words)));
            index = next;
        }
        used
    }

    /// Adds the names of `use` declarations that import a whole module.
    fn add_imported_names(&mut self, tokens: &[Token<'a>]) {
        for index in (0..tokens.len()).filter(|index| is_use(tokens, *index)) {
            for path in paths_at(tokens, index).0 {
                if let Some(module) = self.resolve(&path.words).filter(|module| self.modules.contains(module))
                {
                    self.names.insert(path.name, module);
                }
            }
        }
    }

    fn follow_inline_modules(&mut self, tokens: &[Token<'a>], index: usize) {
        self.inline.retain(|(_, end)| *end > index);
        // A macro may write `mod $name { .. }`.
        let name = if text(tokens, index + 1) == "$" { index + 2 } else { index + 1 };
        if tokens[index].text == "mod" && text(tokens, name + 1) == "{" {
            self.inline.push((tokens[name].text, closing(tokens, name + 1)));
        }
    }

    /// The longest prefix of the path that is a module with a file.
    fn deepest_file(&self, words: &[&str]) -> Option<Module> {
        let mut module = self.resolve(words)?;
        while !self.modules.contains(&module) {
            module.pop()?;
        }
        Some(module)
    }

    /// The path from the crate's root, or nothing for a path of another crate or of a local name.
    fn resolve(&self, words: &[&str]) -> Option<Module> {
        let (first, rest) = words.split_first()?;
        let mut module = match *first {
            "crate" => Module::new(),
            "self" => self.here(),
            "super" => parent(self.here()),
            name => self.names.get(name)?.clone(),
        };
        for word in rest {
            match *word {
                "super" => module = parent(module),
                name => module.push(name.to_owned()),
            }
        }
        Some(module)
    }

    fn here(&self) -> Module {
        self.file.iter().cloned().chain(self.inline.iter().map(|(name, _)| (*name).to_owned())).collect()
    }
}

fn parent(mut module: Module) -> Module {
    module.pop();
    module
}

/// The modules that `mod name;` declares in this file.
fn child_names<'a>(tokens: &[Token<'a>], file: &Module) -> BTreeMap<&'a str, Module> {
    let declared = tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declared
        .map(|window| (window[1].text, [file.as_slice(), &[window[1].text.to_owned()]].concat()))
        .collect()
}

/// A path, and the name that it has in this file if it is imported.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    words: Vec<&'a str>,
    name: &'a str,
}

/// The paths that begin at `index`, and the index to go on from.
fn paths_at<'a>(tokens: &[Token<'a>], index: usize) -> (Vec<Named<'a>>, usize) {
    let mut found = Vec::new();
    if is_use(tokens, index) {
        let end = add_use_tree(tokens, index + 1, &[], &mut found);
        return (found, end);
    }
    let continues = index > 0 && tokens[index - 1].text == "::";
    let (words, end) = words_at(tokens, index);
    if let (false, 2.., Some(name)) = (continues, words.len(), words.last().copied()) {
        found.push(Named { words, name });
    }
    (found, end.max(index + 1))
}

/// Tells a declaration from the `use<..>` of an `impl Trait`.
fn is_use(tokens: &[Token<'_>], index: usize) -> bool {
    tokens[index].text == "use" && text(tokens, index + 1) != "<"
}

/// Adds the paths of the `use` tree at `index`, all under `prefix`, and returns the index after it.
fn add_use_tree<'a>(
    tokens: &[Token<'a>],
    index: usize,
    prefix: &[&'a str],
    found: &mut Vec<Named<'a>>,
) -> usize {
    let (words, mut end) = words_at(tokens, index);
    let mut words = [prefix, &words].concat();
    match text(tokens, end) {
        "{" => {
            let close = closing(tokens, end);
            end += 1;
            while end < close {
                end = add_use_tree(tokens, end, &words, found) + 1;
            }
            return close + 1;
        }
        "*" => end += 1,
        _ => {}
    }
    if words.len() > 1 && words.last() == Some(&"self") {
        words.pop();
    }
    let mut name = words.last().copied().unwrap_or_default();
    if text(tokens, end) == "as" {
        name = text(tokens, end + 1);
        end += 2;
    }
    found.push(Named { words, name });
    end
}

/// The words of the path at `index`, and the index after it and its last `::`.
fn words_at<'a>(tokens: &[Token<'a>], index: usize) -> (Vec<&'a str>, usize) {
    let mut words = Vec::new();
    let mut at = index;
    while let Some(token) = tokens.get(at).filter(|token| is_word(token.text)) {
        words.push(token.text);
        at += 1;
        if text(tokens, at) != "::" {
            break;
        }
        at += 1;
    }
    (words, at)
}

/// The text of the token at `index`, empty past the end.
fn text<'a>(tokens: &[Token<'a>], index: usize) -> &'a str {
    tokens.get(index).map_or("", |token| token.text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{Module, used_modules};
    use crate::architecture::lexer::tokens;
    use std::collections::BTreeSet;

    fn module(path: &str) -> Module {
        path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// What the file `here` of a small crate uses.
    fn used(here: &str, source: &str) -> Vec<String> {
        let modules: BTreeSet<Module> =
            ["", "a", "a::b", "a::c", "d", "d::e"].into_iter().map(module).collect();
        let found = used_modules(&tokens(source), &module(here), &modules);
        found.iter().map(|module| module.join("::")).collect()
    }

    #[test]
    fn a_use_counts_for_the_deepest_file() {
        assert_eq!(used("d", "use crate::a::b::Thing;"), ["a::b"]);
        assert_eq!(used("d", "use crate::a::missing::Thing;"), ["a"]);
        assert_eq!(used("d", "pub(crate) use crate::Thing;"), [""]);
    }

    #[test]
    fn groups_are_expanded() {
        assert_eq!(
            used("d", "use crate::{a::{self, b::{X, Y as Z}, c}, d::e};"),
            ["a", "a::b", "a::c", "d::e"]
        );
    }

    #[test]
    fn relative_paths_are_resolved() {
        assert_eq!(used("a::b", "use super::c::X; use self::Y; use super::super::d;"), ["a::c", "d"]);
        assert_eq!(used("a", "mod raw { use super::X; use super::super::d::Y; }"), ["d"]);
        assert!(used("a", "macro_rules! m { ($n:ident) => { mod $n { use super::*; } } }").is_empty());
    }

    #[test]
    fn a_declaration_is_not_a_use_but_a_path_through_it_is() {
        assert!(used("a", "pub mod b; mod c;").is_empty());
        assert_eq!(used("a", "mod b; pub use b::X;"), ["a::b"]);
        assert_eq!(used("a", "mod b; fn f() { b::g(); }"), ["a::b"]);
    }

    #[test]
    fn paths_in_code_are_uses() {
        assert_eq!(used("d", "fn f() -> crate::a::b::T { super::a::c::g() }"), ["a::b", "a::c"]);
        assert_eq!(used("d", "use crate::a as other; fn f() { other::b::g(); }"), ["a", "a::b"]);
    }

    #[test]
    fn paths_of_other_crates_are_not_uses() {
        assert!(used("d", "use std::a::b; fn f<T>() -> impl X + use<T> { std::mem::take(x) }").is_empty());
    }
}
