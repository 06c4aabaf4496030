//! Lengths of functions, and percentiles.

use crate::architecture::lexer::{Token, body_or_end, closing};

/// Lines in the body of each function: those between the line of its `{` and the line of its `}`.
#[must_use]
pub fn function_lengths(tokens: &[Token<'_>]) -> Vec<usize> {
    let named = |index: usize| {
        tokens[index].text == "fn"
            && tokens
                .get(index + 1)
                .is_some_and(|next| next.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    };
    (0..tokens.len()).filter(|index| named(*index)).filter_map(|index| body_length(tokens, index)).collect()
}

/// A function without a body, as in a trait, has no length.
fn body_length(tokens: &[Token<'_>], function: usize) -> Option<usize> {
    let open = body_or_end(tokens, function);
    let first = tokens.get(open).filter(|token| token.text == "{")?;
    let last = tokens.get(closing(tokens, open))?;
    Some((last.line - first.line).saturating_sub(1))
}

/// The smallest value that `percent` of 100 of the values do not exceed, or 0 when there are none.
#[must_use]
pub fn percentile(mut values: Vec<usize>, percent: usize) -> usize {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{function_lengths, percentile};
    use crate::architecture::lexer::tokens;

    #[test]
    fn lines_of_bodies_are_counted() {
        let source = "trait T { fn none(); }\nfn one() {\n 1;\n}\nfn zero(f: fn(u8)) -> [u8; 2] { x }\n";
        assert_eq!(function_lengths(&tokens(source)), [1, 0]);
    }

    #[test]
    fn percentiles_are_values_of_the_set() {
        assert_eq!(percentile(vec![4, 1, 3, 2], 50), 2);
        assert_eq!(percentile((1..=10).collect(), 90), 9);
        assert_eq!(percentile(Vec::new(), 90), 0);
    }
}
