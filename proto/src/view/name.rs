//! Names of tenants. Operators choose them, and terminals show them.

use std::fmt;

/// Size of an encoded name in words.
pub(super) const WORDS: usize = Name::MAX_BYTES / 8;

/// Name of a tenant: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Name(String);

/// The text is not a valid name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name must have 1 to {} visible ASCII characters without blanks", Name::MAX_BYTES)]
pub struct InvalidName;

impl Name {
    /// Longest name in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] if the text is empty, too long, or has other than visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Name(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// Returns the valid name closest to `text`: cut to [`MAX_BYTES`](Self::MAX_BYTES) characters, others than visible
    /// ASCII replaced by `_`.
    #[must_use]
    pub fn like(text: &str) -> Self {
        let visible = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        let name: String = text.chars().take(Self::MAX_BYTES).map(visible).collect();
        Name(if name.is_empty() { "_".into() } else { name })
    }

    /// The name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(self.0.as_bytes().chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(bytes);
        }
        words
    }

    pub(super) fn from_words(words: &[u64; WORDS]) -> Result<Self, InvalidName> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Self::new(str::from_utf8(&bytes[..end]).map_err(|_| InvalidName)?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
