//! System calls of a tenant that go to a worker: the value of `run --trace`.
//!
//! A set is a *profile* and additional calls. Every profile contains the calls that the KCOV device itself
//! needs, so the device works with every set. The calls of each profile are in [`crate::sandbox::filter`];
//! this module only knows names.

mod names;

pub use names::call_name;
pub(crate) use names::{Known, by_name};

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Calls that are never traced. They restore a stack frame that the kernel made, and a program with two
/// signal handlers crashes if another call runs between the handler and its return.
pub const NEVER_TRACED: &[&str] = &["rt_sigreturn", "sigreturn"];

/// Help text: the sets and what each costs.
const EXPLANATION: &str = "\
kcov       Only the calls that the KCOV device needs: open, KCOV's
           ioctls, mmap of files, execve. All other calls run at
           full speed.
syzkaller  The calls that syzkaller's executor expects to be covered:
           all but those that its own loop makes around each test
           call (futex, sleeping, the clock, signal masks, exit).
           Each traced call costs one round trip to a worker, some
           microseconds.
all        Every call except the return from a signal handler.
           Waiting and locking cost a round trip too.
LIST       The calls of kcov and those with these names, separated
           by commas: read,write. The list may contain another set:
           syzkaller,futex. 32-bit programs have some names of their
           own: stat64, socketcall. Each listed call costs a round
           trip, others cost nothing.";

/// The profiles, each of which contains the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Calls that the device needs.
    Kcov,
    /// All calls except those of the executor's own loop.
    Syzkaller,
    /// All calls except [`NEVER_TRACED`].
    All,
}

impl Profile {
    const EVERY: [Profile; 3] = [Profile::Kcov, Profile::Syzkaller, Profile::All];

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Kcov => "kcov",
            Profile::Syzkaller => "syzkaller",
            Profile::All => "all",
        }
    }
}

/// A checked set: every name in it is a call of some architecture of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceSet {
    profile: Profile,
    calls: BTreeSet<String>,
}

/// Why a text is not a [`TraceSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceSetError {
    /// The list is empty.
    #[error("the list is empty; use `kcov`, `syzkaller`, `all`, or calls separated by commas")]
    Empty,
    /// No call has this name.
    #[error(
        "there is no system call `{name}`{}; names are those in syscalls(2), and `all` also traces unknown calls",
        suggestion(.nearest)
    )]
    Unknown {
        /// The name.
        name: String,
        /// Similar names, the most similar first.
        nearest: Vec<String>,
    },
    /// Tracing the call breaks programs.
    #[error(
        "`{name}` cannot be traced: it returns from signal handlers, and programs crash if another call runs before it"
    )]
    Never {
        /// The name.
        name: String,
    },
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (did you mean `{}`?)", names.join("`, `")),
    }
}

impl TraceSet {
    /// A profile without additional calls.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        TraceSet { profile, calls: BTreeSet::new() }
    }

    /// The profile: the largest one in the list, or [`Profile::Kcov`].
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The additional calls, in alphabetical order.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(String::as_str)
    }

    /// Whether `call` is one of the additional calls.
    #[must_use]
    pub fn names(&self, call: &str) -> bool {
        self.calls.contains(call)
    }
}

/// Describes the sets for `run --help`. With clap's indentation of 10, the lines fit in 80 columns.
#[must_use]
pub fn explain() -> &'static str {
    EXPLANATION
}

impl Default for TraceSet {
    fn default() -> Self {
        TraceSet::of(Profile::Kcov)
    }
}

impl From<Profile> for TraceSet {
    fn from(profile: Profile) -> Self {
        TraceSet::of(profile)
    }
}

impl FromStr for TraceSet {
    type Err = TraceSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',').map(str::trim).filter(|word| !word.is_empty()).peekable();
        words.peek().ok_or(TraceSetError::Empty)?;
        let mut set = TraceSet::default();
        for word in words {
            match Profile::EVERY.into_iter().find(|profile| profile.name() == word) {
                Some(profile) => set.profile = set.profile.max(profile),
                None => drop(set.calls.insert(checked(word)?)),
            }
        }
        Ok(set)
    }
}

fn checked(name: &str) -> Result<String, TraceSetError> {
    if NEVER_TRACED.contains(&name) {
        return Err(TraceSetError::Never { name: name.to_owned() });
    }
    match by_name(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(TraceSetError::Unknown { name: name.to_owned(), nearest: names::nearest(name) }),
    }
}

impl fmt::Display for TraceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.profile.name())?;
        self.calls.iter().try_for_each(|call| write!(f, ",{call}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TraceSet, TraceSetError> {
        text.parse()
    }

    #[test]
    fn profiles_and_lists_parse_and_print() {
        for (text, printed) in [
            ("kcov", "kcov"),
            ("syzkaller", "syzkaller"),
            ("all", "all"),
            ("write, read", "kcov,read,write"),
            ("futex,syzkaller,read", "syzkaller,futex,read"),
            ("kcov,all,syzkaller", "all"),
            ("mmap2,waitpid", "kcov,mmap2,waitpid"),
            ("cachestat,mseal", "kcov,cachestat,mseal"),
        ] {
            let set = parse(text).expect(text);
            assert_eq!(set.to_string(), printed);
            assert_eq!(parse(printed).as_ref(), Ok(&set));
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_suggests_similar_ones() {
        let message = parse("read,opennat").expect_err("no such call").to_string();
        assert!(
            message.contains("`opennat`") && message.contains("`openat`") && message.contains("`all`"),
            "{message}"
        );
        let far = parse("zzzzzzzzzzzz").expect_err("no such call").to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn an_empty_list_and_signal_returns_are_refused() {
        assert_eq!(parse(""), Err(TraceSetError::Empty));
        assert_eq!(parse(" , "), Err(TraceSetError::Empty));
        for name in NEVER_TRACED {
            assert!(matches!(parse(name), Err(TraceSetError::Never { .. })));
        }
    }

    #[test]
    fn the_explanation_names_every_profile() {
        for profile in Profile::EVERY {
            assert!(explain().contains(profile.name()));
        }
        assert!(explain().lines().all(|line| line.len() <= 70));
    }
}
