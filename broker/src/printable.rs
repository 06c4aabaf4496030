//! Text of tenants, workers and files on its way to a log, a terminal or a report.
//!
//! Such text may contain escape sequences, which a terminal obeys, and line breaks, which forge lines. Every place
//! where it enters output uses one of these functions.

use serde::Serialize;
use std::borrow::Cow;

/// Returns `text` in one line: characters that a terminal would not simply show are replaced by their escapes, as in
/// Rust's string literals.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |c| c.escape_default().to_string())
}

/// Like [`line()`], but keeps line breaks and tabs. For texts that may have several lines.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !['\n', '\t'].contains(&c), |c| c.escape_default().to_string())
}

/// Returns `json`, the text of a JSON document, with its hidden characters escaped. JSON itself requires that only of
/// the first 32. Line breaks stay: they are outside of strings.
#[must_use]
pub fn json(json: &str) -> Cow<'_, str> {
    escaped(json, |c| is_hidden(c) && c != '\n', |c| format!("\\u{:04x}", u32::from(c)))
}

/// Serializes `value` as JSON in one line.
///
/// # Errors
/// As [`serde_json::to_string`].
pub fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| json(&text).into_owned())
}

/// Serializes `value` as JSON with indentation.
///
/// # Errors
/// As [`serde_json::to_string_pretty`].
pub fn to_json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| json(&text).into_owned())
}

/// Whether a terminal does not simply show `c`: control characters (C0, DEL, C1), line and paragraph separators, and
/// characters that change the direction of text or have no width (Unicode 16, "Bidirectional Algorithm" and category
/// Cf). All of them are in the Basic Multilingual Plane, so that JSON can escape each with four digits.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if hidden(c) { escape(c) } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hidden_characters_are_escaped() {
        assert_eq!(line("a\n\u{1b}[2J\u{9b}\u{202e}b\t"), "a\\n\\u{1b}[2J\\u{9b}\\u{202e}b\\t");
        assert_eq!(lines("a\n\tb\r\u{7f}"), "a\n\tb\\r\\u{7f}");
        assert_eq!(line("plain é 漢 …"), "plain é 漢 …");
    }

    proptest! {
        #[test]
        fn no_text_is_left_with_a_hidden_character(text: String) {
            prop_assert!(!line(&text).contains(is_hidden));
            prop_assert!(!lines(&text).replace(['\n', '\t'], "").contains(is_hidden));
            let json = to_json(&text).expect("a string is valid");
            prop_assert!(!json.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("valid JSON"), text);
        }
    }
}
