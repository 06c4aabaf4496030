//! Notes of an ELF file (System V ABI, "Note Section").

/// Owner and type of the note with the build id (`NT_GNU_BUILD_ID`).
const OWNER: &[u8] = b"GNU\0";
const BUILD_ID: u32 = 3;

/// Returns the build id, if one of `notes` has it. Notes are padded to `align` bytes.
pub(super) fn build_id(mut notes: &[u8], align: u64) -> Option<&[u8]> {
    let align = if align == 8 { 8 } else { 4 };
    loop {
        let (sizes, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| sizes[at..].first_chunk().map(|word| u32::from_ne_bytes(*word));
        let (owner, description, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let start = (12 + owner).checked_next_multiple_of(align)? - 12;
        let end = start.checked_add(description)?;
        if kind == BUILD_ID && rest.get(..owner)? == OWNER {
            return rest.get(start..end);
        }
        notes = rest.get((12 + end).checked_next_multiple_of(align)? - 12..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_ne_bytes());
        }
        for part in [owner, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn a_build_id_is_found_after_other_notes() {
        let notes =
            [note(b"Other\0", 3, b"abc"), note(b"GNU\0", 1, b"wrong"), note(b"GNU\0", 3, b"12345")].concat();
        assert_eq!(build_id(&notes, 4), Some(b"12345".as_slice()));
    }

    #[test]
    fn damaged_notes_have_no_build_id() {
        let good = note(b"GNU\0", 3, b"12345");
        for length in 0..good.len() - 3 {
            assert_eq!(build_id(&good[..length], 4), None, "{length}");
        }
        for word in 0..2 {
            let mut bad = good.clone();
            bad[4 * word..4 * word + 4].fill(0xff);
            assert_eq!(build_id(&bad, 4), None);
        }
    }
}
