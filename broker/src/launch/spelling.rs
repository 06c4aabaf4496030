//! What a name that nobody knows was meant to be.

/// Longest name that is compared, bytes: above all names there are. The time of a comparison grows with the product of
/// the lengths, and a name may come over a socket.
const MOST: usize = 64;

/// Those of `known` that `name` may be a misspelling of, the likeliest first: a third of it is wrong at most.
pub fn nearest<K: AsRef<str> + Ord>(name: &str, known: impl IntoIterator<Item = K>) -> Vec<K> {
    if name.len() > MOST {
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
    fn the_likeliest_are_the_first() {
        let known = ["open", "openat", "mmap", "openat2", "openat"];
        assert_eq!(nearest("opennat", known), ["openat", "openat2", "open"]);
        assert_eq!(nearest("mpam", known), ["mmap"]);
        assert_eq!(nearest("zzzz", known), [""; 0]);
        assert_eq!(nearest("", known), [""; 0]);
    }

    #[test]
    fn a_name_longer_than_all_is_like_none() {
        let long = "a".repeat(1 << 20);
        assert_eq!(nearest(&long, ["a"; 100]), [""; 0]);
    }
}
