//! Parsing what operators write: times, sizes and misspelled names.

use std::time::Duration;

/// Longest name that [`nearest`] compares, bytes. Known names are shorter. The time of a comparison grows
/// with the product of both lengths, and a name may come over a socket.
const MAX_NAME: usize = 64;

/// Parses a time: seconds, or a number with the unit ms, s, m or min. It must be between 10 ms and a day.
///
/// # Errors
/// A message for the operator.
pub fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        unit => return Err(format!("unknown unit '{unit}': use ms, s or m")),
    };
    let value: f64 = number.parse().map_err(|_| format!("'{number}' is not a number"))?;
    let time = Duration::try_from_secs_f64(value * scale).map_err(|error| error.to_string())?;
    let bounds = Duration::from_millis(10)..=Duration::from_secs(86_400);
    if bounds.contains(&time) { Ok(time) } else { Err("must be between 10ms and a day".into()) }
}

/// Parses a size: bytes, or a number with the suffix K, M or G for powers of 1024.
///
/// # Errors
/// A message for the operator.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        unit => return Err(format!("unknown unit '{unit}': use K, M or G")),
    };
    let value: u64 = digits.parse().map_err(|_| format!("'{digits}' is not a number"))?;
    value.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

/// Writes a size as [`bytes`] parses it, with the largest suffix that fits.
#[must_use]
pub fn size(bytes: u64) -> String {
    let suffixes = [(30, "G"), (20, "M"), (10, "K")];
    let fits = |(shift, _): &(u32, &str)| bytes != 0 && bytes.trailing_zeros() >= *shift;
    match suffixes.into_iter().find(fits) {
        Some((shift, suffix)) => format!("{}{suffix}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// The names in `known` that `name` may be a misspelling of, the most similar first. At most a third of
/// `name` differs.
pub fn nearest<K: AsRef<str> + Ord>(name: &str, known: impl IntoIterator<Item = K>) -> Vec<K> {
    if name.len() > MAX_NAME {
        return Vec::new();
    }
    let most = name.chars().count() / 3 + 1;
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known.as_ref()), known));
    let mut near: Vec<_> = distances.filter(|(distance, _)| *distance <= most).collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_they_are_parsed() {
        for (text, number) in
            [("2G", 2 << 30), ("1500K", 1500 << 10), ("1025", 1025), ("0", 0), ("64M", 64 << 20)]
        {
            assert_eq!((bytes(text), size(number)), (Ok(number), text.to_owned()));
        }
        assert!(bytes("1T").is_err() && bytes("-1").is_err() && bytes("99999999999G").is_err());
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1.5"), time("1500ms"));
        assert_eq!(time("2m"), time("120s"));
        assert!(time("1h").is_err() && time("9ms").is_err() && time("NaN").is_err() && time("").is_err());
    }

    #[test]
    fn the_most_similar_names_come_first() {
        let known = ["open", "openat", "mmap", "openat2", "openat"];
        assert_eq!(nearest("opennat", known), ["openat", "openat2", "open"]);
        assert_eq!(nearest("mpam", known), ["mmap"]);
        assert_eq!(nearest("zzzz", known), [""; 0]);
        assert_eq!(nearest("", known), [""; 0]);
    }

    #[test]
    fn a_very_long_name_has_no_suggestions() {
        let long = "a".repeat(1 << 20);
        assert_eq!(nearest(&long, ["a"; 100]), [""; 0]);
    }
}
