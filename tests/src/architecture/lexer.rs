//! Splits Rust source into tokens, without comments and literals.

/// An identifier, `::`, or one other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The text of the token.
    pub text: &'a str,
    /// Its line, from 1.
    pub line: usize,
}

/// The tokens of `source`. Comments, strings, characters and lifetimes are left out.
#[must_use]
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while !rest.is_empty() {
        let skipped = skipped_length(rest);
        let length = if skipped > 0 { skipped } else { token_length(rest) };
        let (text, after) = rest.split_at(length);
        if skipped == 0 {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The position of the bracket that closes the one at `open`, or the end of the tokens.
#[must_use]
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len()
}

/// The first `{` or `;` from `start` on that is in no parentheses or square brackets, or the end of the tokens.
#[must_use]
pub fn body_or_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut index = start;
    while let Some(token) = tokens.get(index) {
        match token.text {
            "{" | ";" => return index,
            "(" | "[" => index = closing(tokens, index) + 1,
            _ => index += 1,
        }
    }
    tokens.len()
}

/// Length of the white space, comment or literal at the start of `text`, or 0.
fn skipped_length(text: &str) -> usize {
    let white = text.len() - text.trim_start().len();
    if white > 0 {
        white
    } else if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment_length(text)
    } else if text.starts_with('\'') {
        quote_length(text)
    } else {
        string_length(text)
    }
}

/// Length of the identifier, number, `::` or single character at the start of `text`.
fn token_length(text: &str) -> usize {
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    match word {
        0 if text.starts_with("::") => 2,
        0 => text.chars().next().map_or(0, char::len_utf8),
        word => word,
    }
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Length of the character literal or lifetime at the start of `text`.
fn quote_length(text: &str) -> usize {
    let mut rest = text.chars().skip(1);
    match (rest.next(), rest.next()) {
        (Some('\\'), _) => 1 + escaped_length(&text[1..], '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1 + text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - 1),
    }
}

/// Length of the string literal at the start of `text`, raw or not, or 0.
fn string_length(text: &str) -> usize {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    });
    let Some(prefix) = prefix else { return 0 };
    let rest = &text[prefix.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = &rest[hashes + 1..];
    let length = match prefix {
        "br" | "cr" | "r" => {
            let end = format!("\"{}", "#".repeat(hashes));
            body.find(&end).map_or(body.len(), |at| at + end.len())
        }
        _ if hashes > 0 => return 0,
        _ => escaped_length(body, '"'),
    };
    prefix.len() + hashes + 1 + length
}

/// Length of `text` up to and with the first `end` that no backslash escapes.
fn escaped_length(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == end => return at + end.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{closing, tokens};

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_are_left_out() {
        assert_eq!(texts("a // unsafe\nb /* x /* unsafe */ y */ c"), ["a", "b", "c"]);
    }

    #[test]
    fn strings_are_left_out() {
        assert_eq!(texts(r####"a("\"unsafe", b"\\", r#"unsafe " x"#, br"\", c"z")"####).concat(), "a(,,,,)");
    }

    #[test]
    fn characters_and_lifetimes_are_left_out() {
        assert_eq!(texts(r"f('\'', 'x', b'{', '\u{7b}')").concat(), "f(,,b,)");
        assert_eq!(texts("fn f<'a>(x: &'a str)").concat(), "fnf<>(x:&str)");
    }

    #[test]
    fn paths_and_words_are_tokens_with_lines() {
        assert_eq!(texts("crate::a_1;"), ["crate", "::", "a_1", ";"]);
        assert_eq!(tokens("\"\n\"\nx")[0].line, 3);
    }

    #[test]
    fn closing_finds_the_matching_bracket() {
        let tokens = tokens("{ a(b[c]) } d");
        assert_eq!(tokens[closing(&tokens, 0) + 1].text, "d");
    }
}
