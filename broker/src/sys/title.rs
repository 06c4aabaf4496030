//! What `ps` shows of a process as its command: the memory in which the kernel once put the arguments of the program.

use std::fs;

/// Puts `text`, as much of it as fits, in the place of the arguments. Where they are is not told, nothing happens.
///
/// For a forked process, once the arguments were read: whoever reads them from `std::env::args` afterwards finds the title.
pub fn set(text: &str) {
    let Some((start, end)) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| arguments(&stat))
    else {
        return;
    };
    let length = text.len().min(end - start - 1);
    let area = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: by `proc(5)` from start to end is where the arguments of this process's program lie, on its first stack, which
    // the kernel made writable, and which stays as long as the process. One thread runs here, every process of this crate
    // but the front has one, so nobody reads them meanwhile. The last byte stays NUL: what lies behind is not taken for more.
    unsafe {
        area.write_bytes(0, end - start);
        area.copy_from_nonoverlapping(text.as_ptr(), length);
    }
}

/// `arg_start` and `arg_end` of a `stat` (`proc(5)`), if there is at least a byte between them.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    // The name may have blanks and parentheses in it; the state, field 3, follows.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let start = fields.nth(48 - 3)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start != 0 && start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_where_the_fields_say() {
        let before = (3..48).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        let stat = |rest: &str| arguments(&format!("7 (a) b) {before} {rest}"));
        assert_eq!(stat("100 120 130 140 0"), Some((100, 120)));
        assert_eq!(
            (stat("0 0 0"), stat("100 100"), stat("100"), arguments("no stat")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_title_is_what_others_see() {
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
