//! Coverage sites: the entries that the recording macros put into a binary, and the rule for their PCs.
//!
//! A site is an entry of [`Site::BYTES`] bytes in the link section [`SECTION`]. It contains no address, so a
//! symboliser can read it from the file without running it, and a position-independent binary needs no
//! relocation for it. Numbers are little endian; strings are padded with NULs.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | [`MAGIC`], with the version of this layout |
//! | 4 | 1 | [`SiteKind`] |
//! | 5 | 3 | zero |
//! | 8 | 8 | [`fnv1a`] hash of the name, or of `file:line:column` if there is no name |
//! | 16 | 4 | line |
//! | 20 | 4 | column |
//! | 24 | 104 | file; if too long, its end |
//! | 128 | 64 | module path; if too long, its end |
//! | 192 | 64 | name, or empty; if too long, its beginning |
//!
//! # PCs
//!
//! Clients discard the trace of a whole call if it has one PC outside the kernel's text range, and their
//! filters ignore the low 3 bits. So the PC of a site is not an address of the process. The rule:
//!
//! > Entry `i` of the section has the PC [`SITE_BASE`] + `i` * [`SPACING`] + [`OFFSET`]. An explicit `u64` id
//! > has the PC [`ID_BASE`] + `slot` * [`SPACING`] + [`OFFSET`], where `slot` is the id folded by exclusive
//! > or to [`ID_BITS`] bits.
//!
//! So a PC depends only on the binary, not on ASLR, machine or run. Symbolisers subtract 5 (amd64) or 4
//! (arm64) from a PC; [`OFFSET`] keeps the result within the same site. Explicit ids below 2^[`ID_BITS`]
//! never collide. Two others collide with a probability of 2^-[`ID_BITS`]; they are then one point, and the
//! log reports it. The hash stays the same when a program is rebuilt.

/// Name of the link section. It is a C identifier, so the linker defines the symbols `__start_kcov_sites` and
/// `__stop_kcov_sites`.
pub const SECTION: &str = "kcov_sites";
/// First bytes of every entry.
pub const MAGIC: [u8; 4] = *b"KCs1";

/// Lowest PC that clients accept.
pub const TEXT_START: u64 = 0xffff_ffff_8000_0000;
/// Highest PC that clients accept.
pub const TEXT_END: u64 = 0xffff_ffff_ff00_0000;

/// Start of the PCs of sites.
pub const SITE_BASE: u64 = 0xffff_ffff_8100_0000;
/// End of the PCs of sites: room for 7 million. The range from here to [`ID_BASE`] belongs to instrumented
/// code, see [`region`](crate::region).
pub const SITE_END: u64 = 0xffff_ffff_8800_0000;
/// Start of the PCs of explicit ids.
pub const ID_BASE: u64 = 0xffff_ffff_c000_0000;
/// Number of bits to which an explicit id is folded. The PCs take 512 MiB and end below [`TEXT_END`].
pub const ID_BITS: u32 = 25;
/// Distance between PCs: a multiple of 8, and small, because clients hash the low 12 bits of a PC.
pub const SPACING: u64 = 16;
/// Offset of the PC within its [`SPACING`].
pub const OFFSET: u64 = 8;

const FILE: usize = 24;
const MODULE: usize = 128;
const NAME: usize = 192;

/// What a site marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SiteKind {
    /// A covered point.
    Edge = 1,
    /// A comparison.
    Cmp = 2,
    /// A system call, recorded by the trace service.
    Call = 3,
}

impl SiteKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [SiteKind::Edge, SiteKind::Cmp, SiteKind::Call].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SiteKind::Edge => "edge",
            SiteKind::Cmp => "cmp",
            SiteKind::Call => "call",
        }
    }
}

/// An entry of the link section, as the macros write it.
#[derive(Debug)]
#[repr(transparent)]
pub struct Site([u8; Site::BYTES]);

/// The source location of a site, from `file!()`, `line!()`, `column!()` and `module_path!()`.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Path of the source file.
    pub file: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Path of the module.
    pub module: &'static str,
}

impl Site {
    /// Size of an entry in bytes: a power of two at least as large as any alignment that a linker gives the
    /// section, so that there are no gaps between the entries of different object files.
    pub const BYTES: usize = 256;

    /// Makes an entry. `hashed` is the name, or `file:line:column` if `name` is empty.
    #[must_use]
    pub const fn new(kind: SiteKind, place: Place, name: &str, hashed: &str) -> Self {
        let bytes = [0; Self::BYTES];
        let bytes = put(bytes, 0, &MAGIC);
        let bytes = put(bytes, 4, &[kind as u8]);
        let bytes = put(bytes, 8, &fnv1a(hashed.as_bytes()).to_le_bytes());
        let bytes = put(bytes, 16, &place.line.to_le_bytes());
        let bytes = put(bytes, 20, &place.column.to_le_bytes());
        let bytes = put(bytes, FILE, tail(place.file.as_bytes(), MODULE - FILE));
        let bytes = put(bytes, MODULE, tail(place.module.as_bytes(), NAME - MODULE));
        Site(put(bytes, NAME, head(name.as_bytes(), Self::BYTES - NAME)))
    }

    /// The bytes of the entry in the section.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// A decoded entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedSite {
    /// What the site marks.
    pub kind: SiteKind,
    /// Hash of the name or location; stays the same when the program is rebuilt.
    pub hash: u64,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Path of the source file, or its end.
    pub file: String,
    /// Path of the module, or its end.
    pub module: String,
    /// Name, or its beginning; empty for a site without a name.
    pub name: String,
}

impl ParsedSite {
    /// Decodes an entry of an untrusted file. `None` if it is not an entry of this version.
    #[must_use]
    pub fn parse(bytes: &[u8; Site::BYTES]) -> Option<Self> {
        if bytes[..4] != MAGIC {
            return None;
        }
        Some(ParsedSite {
            kind: SiteKind::from_byte(bytes[4])?,
            hash: u64::from_le_bytes(*bytes[8..].first_chunk()?),
            line: u32::from_le_bytes(*bytes[16..].first_chunk()?),
            column: u32::from_le_bytes(*bytes[20..].first_chunk()?),
            file: text(&bytes[FILE..MODULE]),
            module: text(&bytes[MODULE..NAME]),
            name: text(&bytes[NAME..]),
        })
    }
}

/// The PC of entry `index` of the section.
#[inline]
#[must_use]
pub const fn pc_of_index(index: u64) -> u64 {
    SITE_BASE + index * SPACING + OFFSET
}

/// The index of the entry that `pc` belongs to. Also accepts PCs from which a symboliser has subtracted 4 or
/// 5.
#[must_use]
pub fn index_of_pc(pc: u64) -> Option<u64> {
    (SITE_BASE..SITE_END).contains(&pc).then(|| (pc - SITE_BASE) / SPACING)
}

/// The PC of an explicit id.
#[inline]
#[must_use]
pub const fn pc_of_id(id: u64) -> u64 {
    let folded = id ^ (id >> ID_BITS) ^ (id >> (2 * ID_BITS));
    ID_BASE + (folded & ((1 << ID_BITS) - 1)) * SPACING + OFFSET
}

/// The 64-bit FNV-1a hash (draft-eastlake-fnv).
#[must_use]
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn put(mut entry: [u8; Site::BYTES], start: usize, field: &[u8]) -> [u8; Site::BYTES] {
    let mut at = 0;
    while at < field.len() {
        entry[start + at] = field[at];
        at += 1;
    }
    entry
}

const fn head(text: &[u8], most: usize) -> &[u8] {
    if text.len() > most { text.split_at(most).0 } else { text }
}

const fn tail(text: &[u8], most: usize) -> &[u8] {
    if text.len() > most { text.split_at(text.len() - most).1 } else { text }
}

/// The string of a padded field. A character that was cut in the middle is dropped.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { file: "handlers/src/open.rs", line: 7, column: 9, module: "handlers::open" };

    #[test]
    fn an_entry_decodes_to_what_was_encoded() {
        let site = Site::new(SiteKind::Cmp, PLACE, "flags", "flags");
        let parsed = ParsedSite::parse(site.bytes()).expect("an entry");
        let expected = ParsedSite {
            kind: SiteKind::Cmp,
            hash: fnv1a(b"flags"),
            line: 7,
            column: 9,
            file: "handlers/src/open.rs".into(),
            module: "handlers::open".into(),
            name: "flags".into(),
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn long_paths_keep_their_end_and_names_their_beginning() {
        let long: &'static str = "é0123456789".repeat(30).leak();
        let site = Site::new(SiteKind::Edge, Place { file: long, module: long, ..PLACE }, long, long);
        let parsed = ParsedSite::parse(site.bytes()).expect("an entry");
        assert!(long.ends_with(&parsed.file) && parsed.file.len() >= 103);
        assert!(long.ends_with(&parsed.module) && parsed.module.len() >= 63);
        assert!(long.starts_with(&parsed.name) && parsed.name.len() >= 63);
    }

    #[test]
    fn malformed_entries_are_refused() {
        let good = *Site::new(SiteKind::Edge, PLACE, "", "a:1:1").bytes();
        assert!(ParsedSite::parse(&good).is_some());
        for at in 0..5 {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert_eq!(ParsedSite::parse(&bad), None, "byte {at}");
        }
        assert_eq!(ParsedSite::parse(&[0; Site::BYTES]), None);
        assert!(
            ParsedSite::parse(&std::array::from_fn(|at| good.get(at).map_or(0xff, |b| b | 0x80))).is_none()
        );
    }

    #[test]
    fn fnv1a_is_the_published_function() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_pc_maps_back_to_its_entry_also_with_5_subtracted() {
        for index in [0, 1, 2, 511, 7_000_000] {
            let pc = pc_of_index(index);
            assert!((TEXT_START..=TEXT_END).contains(&pc));
            assert_eq!([pc, pc - 4, pc - 5].map(index_of_pc), [Some(index); 3]);
        }
        assert_eq!([0, SITE_BASE - 1, SITE_END, u64::MAX].map(index_of_pc), [None; 4]);
    }

    #[test]
    fn ids_and_sites_have_disjoint_pcs() {
        for id in [0, 1, 77, u64::MAX, 1 << 25, 1 << 63, fnv1a(b"x")] {
            let pc = pc_of_id(id);
            assert!((ID_BASE..TEXT_END).contains(&pc) && index_of_pc(pc).is_none());
            assert_eq!(pc % 8, 0);
        }
        assert_eq!(pc_of_id(1) - pc_of_id(0), SPACING);
        assert_ne!(pc_of_id(1 << 32), pc_of_id(0));
    }
}
