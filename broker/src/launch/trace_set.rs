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
kcov       Only the calls that the KCOV device needs: KCOV's ioctls,
           shared mappings of files, execve. All other calls run at
           full speed.
all        Also the calls that signal(7) lists as interruptible: read,
           write, wait, poll, the socket calls, futex waits, ... Each
           traced call costs one round trip to a worker, some
           microseconds.
syzkaller  Those of all that a test program makes, and mmap with
           MAP_FIXED. Not traced are the calls that syzkaller's
           executor makes around each test call: futex, sleeping.
every      Every call except the return from a signal handler. Calls
           that never return EINTR otherwise may do so here, if a
           signal handler without SA_RESTART runs: many programs,
           shells among them, then fail.
LIST       Names separated by commas: profiles, and calls besides.
           read,write traces these and those of kcov. every,-close
           leaves close out. 32-bit programs have some names of
           their own: stat64, socketcall.";

/// A set of calls with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Calls that the device needs. Part of every set.
    Kcov,
    /// What syzkaller's probes need and its test programs make.
    Syzkaller,
    /// Calls that are interruptible without a broker, too.
    All,
    /// All calls except [`NEVER_TRACED`].
    Every,
}

impl Profile {
    const ALL: [Profile; 4] = [Profile::Kcov, Profile::Syzkaller, Profile::All, Profile::Every];

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Kcov => "kcov",
            Profile::Syzkaller => "syzkaller",
            Profile::All => "all",
            Profile::Every => "every",
        }
    }
}

/// A checked set: every name in it is a call of some architecture of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceSet {
    /// Without [`Profile::Kcov`], which is always meant.
    profiles: BTreeSet<Profile>,
    calls: BTreeSet<String>,
    removed: BTreeSet<String>,
}

/// Why a text is not a [`TraceSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceSetError {
    /// The list is empty.
    #[error("the list is empty; use `kcov`, `syzkaller`, `all`, `every`, or calls separated by commas")]
    Empty,
    /// No call has this name.
    #[error(
        "there is no system call `{name}`{}; names are those in syscalls(2), and `every` also traces unknown calls",
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
    /// Whether the set contains a profile.
    #[must_use]
    pub fn has(&self, profile: Profile) -> bool {
        profile == Profile::Kcov || self.profiles.contains(&profile)
    }

    /// The calls that are named besides the profiles, in alphabetical order.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(String::as_str)
    }

    /// The calls that are left out of the profiles, in alphabetical order.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.removed.iter().map(String::as_str)
    }

    /// Whether `call` is named besides the profiles.
    #[must_use]
    pub fn names(&self, call: &str) -> bool {
        self.calls.contains(call)
    }

    /// Whether `call` is left out of the profiles. `mmap` means the 32-bit `mmap2` as well.
    #[must_use]
    pub fn removes(&self, call: &str) -> bool {
        self.removed.contains(call) || call == "mmap2" && self.removed.contains("mmap")
    }
}

/// Describes the sets for `run --help`. With clap's indentation of 10, the lines fit in 80 columns.
#[must_use]
pub fn explain() -> &'static str {
    EXPLANATION
}

impl From<Profile> for TraceSet {
    fn from(profile: Profile) -> Self {
        let mut set = TraceSet::default();
        set.add(profile);
        set
    }
}

impl TraceSet {
    fn add(&mut self, profile: Profile) {
        if profile != Profile::Kcov {
            self.profiles.insert(profile);
        }
    }
}

impl FromStr for TraceSet {
    type Err = TraceSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',').map(str::trim).filter(|word| !word.is_empty()).peekable();
        words.peek().ok_or(TraceSetError::Empty)?;
        let mut set = TraceSet::default();
        for word in words {
            let profile = Profile::ALL.into_iter().find(|profile| profile.name() == word);
            match (profile, word.strip_prefix('-')) {
                (Some(profile), _) => set.add(profile),
                (None, Some(name)) => drop(set.removed.insert(checked(name)?)),
                (None, None) => drop(set.calls.insert(checked(word)?)),
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
        f.write_str(Profile::Kcov.name())?;
        self.profiles.iter().try_for_each(|profile| write!(f, ",{}", profile.name()))?;
        self.calls.iter().try_for_each(|call| write!(f, ",{call}"))?;
        self.removed.iter().try_for_each(|call| write!(f, ",-{call}"))
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
            ("syzkaller", "kcov,syzkaller"),
            ("all", "kcov,all"),
            ("every,-close,-mmap", "kcov,every,-close,-mmap"),
            ("write, read", "kcov,read,write"),
            ("futex,syzkaller,read", "kcov,syzkaller,futex,read"),
            ("kcov,all,syzkaller", "kcov,syzkaller,all"),
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
            message.contains("`opennat`") && message.contains("`openat`") && message.contains("`every`"),
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
        for profile in Profile::ALL {
            assert!(explain().contains(profile.name()));
        }
        assert!(explain().lines().all(|line| line.len() <= 70));
    }
}
