//! Checks that no account uses the uids of workers: processes with the same uid can signal and trace each
//! other.

use std::fs;
use std::ops::RangeInclusive;

/// Errors for uids that an account of this machine has, or may use for its containers. Accounts of a
/// directory service are not checked, because listing them may take minutes.
pub fn within(uids: &RangeInclusive<u32>) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let accounts = accounts(&read("/etc/passwd"), uids);
    accounts.into_iter().chain(subordinates(&read("/etc/subuid"), uids)).collect()
}

/// Searches a text in the format of `passwd(5)`.
fn accounts(text: &str, uids: &RangeInclusive<u32>) -> Option<String> {
    let mut owners = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        uids.contains(&uid).then_some((name, uid))
    });
    let (name, uid) = owners.next()?;
    Some(format!("contains {uid}, the uid of {name}: workers need uids that no account has"))
}

/// Searches a text in the format of `subuid(5)`.
fn subordinates(text: &str, uids: &RangeInclusive<u32>) -> Option<String> {
    let mut ranges = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, first) = (fields.next()?, fields.next()?.parse::<u32>().ok()?);
        let last = first.checked_add(fields.next()?.parse::<u32>().ok()?.checked_sub(1)?)?;
        (first <= *uids.end() && *uids.start() <= last).then_some((name, first, last))
    });
    let (name, first, last) = ranges.next()?;
    Some(format!("overlaps {first}-{last}, which /etc/subuid assigns to containers of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_uid_in_the_range_is_named() {
        let passwd = "root:x:0:0::/:/bin/sh\nbob:x:1000:1000::/:/bin/sh\nbroken\n::\n";
        assert_eq!(accounts(passwd, &(1001..=2000)), None);
        assert!(accounts(passwd, &(999..=1000)).is_some_and(|said| said.contains("1000, the uid of bob")));
        let subuid = "bob:100000:65536\nbroken:x:1\nnone:5:0\n";
        assert_eq!(subordinates(subuid, &(165_536..=200_000)), None);
        assert!(
            subordinates(subuid, &(165_535..=200_000)).is_some_and(|said| said.contains("100000-165535"))
        );
        assert!(subordinates(subuid, &(1..=u32::MAX)).is_some());
    }
}
