//! The shape of the product's source tree, measured from its text: which file uses which, where unsafe code is,
//! and how long files and functions are.
//!
//! This is a reader of tokens, not a compiler. It knows comments, literals, `use` declarations, paths, and
//! matching brackets; it does not expand macros and does not follow re-exports.

pub mod graph;
pub mod lexer;
pub mod lines;
pub mod paths;
pub mod test_code;
pub mod tree;
