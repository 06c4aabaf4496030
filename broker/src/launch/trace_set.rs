//! Which calls of a tenant go to a worker: the value of `run --trace`.
//!
//! A set is a *profile* and calls named besides it. Every profile holds what the KCOV device itself needs, so
//! no set can be chosen under which the device does not work. The contents of the profiles are in
//! [`crate::sandbox::filter`]; this module knows names alone.

mod names;

pub use names::call_name;
pub(crate) use names::{Known, by_name};

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Calls that are never traced: their frame on the stack is the kernel's, and a program with two signal handlers
/// crashes when another call runs between the handler and its return.
pub const NEVER_TRACED: &[&str] = &["rt_sigreturn", "sigreturn"];

/// Text for `run --help`: the sets and what each costs.
const EXPLANATION: &str = "\
kcov       The KCOV device alone: opens, KCOV's ioctls, maps of files,
           execve. All else runs at full speed.
syzkaller  What syzkaller's executor expects to be covered: every call
           but those that its own loop makes around each test call
           (futex, sleeping, the clock, signal masks, exit). A traced
           call costs one round trip to a worker, some microseconds.
all        Every call but the return from a signal handler. Waiting
           and locking cost a round trip too.
LIST       Names of calls, joined by commas, besides what kcov holds:
           read,write. A set may stand in it: syzkaller,futex. 32-bit
           programs have names of their own: stat64, socketcall. Each
           named call costs a round trip, all others nothing.";

/// The names, in order of what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// The device alone.
    Kcov,
    /// Every call but those of the executor's own loop.
    Syzkaller,
    /// Every call but [`NEVER_TRACED`].
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

/// A checked choice of calls: each name in it is one that some architecture of this machine has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceSet {
    profile: Profile,
    calls: BTreeSet<String>,
}

/// Why a text is no [`TraceSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceSetError {
    /// Nothing is named.
    #[error("nothing is named; give `kcov`, `syzkaller`, `all`, or calls joined by commas")]
    Empty,
    /// No call of that name is known.
    #[error(
        "no system call is named `{name}`{}; names are those of syscalls(2), and `all` traces calls of any name",
        suggestion(.nearest)
    )]
    Unknown {
        /// As it was given.
        name: String,
        /// Known names that look like it, the likeliest first.
        nearest: Vec<String>,
    },
    /// Tracing it breaks programs.
    #[error(
        "`{name}` cannot be traced: it returns from signal handlers, and a call between the two crashes programs"
    )]
    Never {
        /// As it was given.
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
    /// A profile and nothing besides.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        TraceSet { profile, calls: BTreeSet::new() }
    }

    /// The largest profile that was named; [`Profile::Kcov`] if none was.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Calls named besides the profile, in alphabetical order.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(String::as_str)
    }

    /// Whether `call` was named besides the profile.
    #[must_use]
    pub fn names(&self, call: &str) -> bool {
        self.calls.contains(call)
    }
}

/// What each set holds and costs, for `run --help`. Its lines fit on 80 columns behind the
/// 10 that clap puts before them.
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
    fn an_unknown_name_gets_the_nearest_ones_and_the_way_out() {
        let message = parse("read,opennat").expect_err("no such call").to_string();
        assert!(
            message.contains("`opennat`") && message.contains("`openat`") && message.contains("`all`"),
            "{message}"
        );
        let far = parse("zzzzzzzzzzzz").expect_err("no such call").to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn nothing_and_signal_returns_are_refused() {
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
