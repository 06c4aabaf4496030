//! Texts for messages to the broker.

use kcov_proto::message::MAX_TEXT;

/// Cuts `text` to [`MAX_TEXT`] bytes, at a character boundary.
#[must_use]
pub fn truncate(text: &str) -> String {
    text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= MAX_TEXT).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(truncate("short"), "short");
        let long = "é".repeat(MAX_TEXT);
        assert_eq!(truncate(&long).len(), MAX_TEXT);
        let odd = format!("a{long}");
        assert_eq!(truncate(&odd).len(), MAX_TEXT - 1);
    }
}
