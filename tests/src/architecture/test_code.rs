//! Removes test code from a file: items under `#[cfg(test)]` or `#[cfg(all(test, ..))]`.

use crate::architecture::lexer::{Token, body_or_end, closing};
use std::ops::RangeInclusive;

/// What a file has beside product code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestCode<'a> {
    /// Lines of test items, with their attributes.
    pub lines: Vec<RangeInclusive<usize>>,
    /// Test modules that have a file of their own.
    pub modules: Vec<&'a str>,
}

/// Separates the tokens of product code from test code.
#[must_use]
pub fn split<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, TestCode<'a>) {
    let mut product = Vec::new();
    let mut test = TestCode::default();
    let mut index = 0;
    while index < tokens.len() {
        if !is_test_attribute(&tokens[index..]) {
            product.push(tokens[index]);
            index += 1;
            continue;
        }
        let start = index;
        let item = skip_attributes(tokens, start);
        let end = item_end(tokens, item).min(tokens.len() - 1);
        test.lines.push(tokens[start].line..=tokens[end].line);
        test.modules.extend(module_with_a_file(&tokens[item..=end]));
        index = end + 1;
    }
    (product, test)
}

fn is_test_attribute(tokens: &[Token<'_>]) -> bool {
    let begins = |words: &[&str]| {
        tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
    };
    begins(&["#", "[", "cfg", "(", "test", ")"]) || begins(&["#", "[", "cfg", "(", "all", "(", "test", ","])
}

/// The first token after the attributes at `start`.
fn skip_attributes(tokens: &[Token<'_>], start: usize) -> usize {
    let mut index = start;
    while tokens.get(index).is_some_and(|token| token.text == "#") {
        index = closing(tokens, index + 1) + 1;
    }
    index
}

/// The last token of the item at `start`. The braces of a `use` are not a body.
fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut end = body_or_end(tokens, start);
    if tokens.get(end).is_some_and(|token| token.text == "{") {
        end = closing(tokens, end);
    }
    match tokens.get(end + 1) {
        Some(next) if next.text == ";" => end + 1,
        _ => end,
    }
}

/// The name of the module that `mod name;` declares.
fn module_with_a_file<'a>(item: &[Token<'a>]) -> Option<&'a str> {
    match item {
        [.., keyword, name, end] if keyword.text == "mod" && end.text == ";" => Some(name.text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::split;
    use crate::architecture::lexer::tokens;

    #[test]
    fn test_items_are_removed() {
        let source = "fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n use super::*;\n}\nfn b() {}";
        let all = tokens(source);
        let (product, test) = split(&all);
        assert_eq!(product.iter().map(|token| token.text).collect::<String>(), "fna(){}fnb(){}");
        assert_eq!(test.lines, [2..=6]);
        assert!(test.modules.is_empty());
    }

    #[test]
    fn test_modules_with_files_are_named() {
        let all = tokens("#[cfg(test)] pub mod probe; #[cfg(all(test, not(loom)))] mod tests; mod real;");
        let (product, test) = split(&all);
        assert_eq!(product.iter().map(|token| token.text).collect::<String>(), "modreal;");
        assert_eq!(test.modules, ["probe", "tests"]);
    }

    #[test]
    fn a_test_use_ends_at_its_semicolon() {
        let all = tokens("#[cfg(test)] use a::{b, c}; fn f() {}");
        assert_eq!(split(&all).0.iter().map(|token| token.text).collect::<String>(), "fnf(){}");
    }
}
