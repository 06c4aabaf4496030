//! Names of tenants, which operators choose and terminals show.

use std::fmt;

/// Words of an encoded name.
pub(super) const WORDS: usize = Name::MOST / 8;

/// Name of a tenant: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Name(String);

/// A text that is no name of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {} visible ASCII characters and no blank", Name::MOST)]
pub struct NoName;

impl Name {
    /// Most bytes of a name.
    pub const MOST: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`NoName`].
    pub fn new(text: &str) -> Result<Self, NoName> {
        let fits = (1..=Self::MOST).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Name(text.into()))
        } else {
            Err(NoName)
        }
    }

    /// The name that `text` comes closest to.
    #[must_use]
    pub fn like(text: &str) -> Self {
        let visible = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        let name: String = text.chars().take(Self::MOST).map(visible).collect();
        Name(if name.is_empty() { "_".into() } else { name })
    }

    /// It.
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

    pub(super) fn from_words(words: &[u64; WORDS]) -> Result<Self, NoName> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Self::new(str::from_utf8(&bytes[..end]).map_err(|_| NoName)?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
