//! The title of a process: what `ps` shows as its command line.

use std::fs;

/// Overwrites the program's arguments with `text`, truncated to their length. Does nothing if procfs does not
/// show where they are.
///
/// For a forked process that has read its arguments: `std::env::args` returns the title afterwards.
pub fn set(text: &str) {
    let Some((start, end)) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| arguments(&stat))
    else {
        return;
    };
    let length = text.len().min(end - start - 1);
    let area = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: by `proc(5)`, the arguments of this process's program lie from start to end, on its first
    // stack, which is writable and stays mapped as long as the process runs. Every process of this crate
    // except the front has one thread, so no other thread reads them meanwhile. The last byte stays NUL,
    // which ends the title.
    unsafe {
        area.write_bytes(0, end - start);
        area.copy_from_nonoverlapping(text.as_ptr(), length);
    }
}

/// Returns `arg_start` and `arg_end` of a `stat` (`proc(5)`), if there is at least a byte between them.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    // The name may contain blanks and parentheses; the state, field 3, follows it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let start = fields.nth(48 - 3)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start != 0 && start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_fields_48_and_49() {
        let before = (3..48).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        let stat = |rest: &str| arguments(&format!("7 (a) b) {before} {rest}"));
        assert_eq!(stat("100 120 130 140 0"), Some((100, 120)));
        assert_eq!(
            (stat("0 0 0"), stat("100 100"), stat("100"), arguments("no stat")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_title_replaces_the_command_line() {
        let child = crate::sys::fork::child(|| {
            set(&"a title ".repeat(1000));
            let seen = fs::read("/proc/self/cmdline").unwrap_or_default();
            let right = seen.starts_with(b"a title") && seen.iter().all(|byte| b"a title\0".contains(byte));
            i32::from(!right)
        });
        let status = nix::sys::wait::waitpid(child.expect("a child"), None).expect("its end");
        assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
    }
}
