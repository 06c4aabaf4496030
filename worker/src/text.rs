//! Text that goes into messages.

use kcov_proto::message::MAX_TEXT;

/// As much of `text` as a message may hold, cut between characters.
#[must_use]
pub fn bounded(text: &str) -> String {
    text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= MAX_TEXT).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let long = "é".repeat(MAX_TEXT);
        assert_eq!(bounded(&long).len(), MAX_TEXT);
        let odd = format!("a{long}");
        assert_eq!(bounded(&odd).len(), MAX_TEXT - 1);
    }
}
