//! Every key of a configuration: what it takes, what holds without it, and what it is for. The manual page is made of
//! this table; a test holds it against what the parser asks for, and against the parser's own defaults.

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it, as it would stand in a file; `None` if it cannot be said by a value.
    pub default: Option<&'static str>,
    /// What it is for, in a sentence or two; and what holds without it if that cannot be said by a value.
    pub purpose: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// Strings.
    Texts,
    /// The name of a file or folder.
    Path,
    /// Seconds, or a string with a unit.
    Time,
    /// Bytes, or a string with a suffix.
    Size,
    /// An integer of at least 0.
    Count,
    /// True or false.
    Switch,
    /// A table of strings.
    Variables,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A section of its own.
    Section,
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Its head, as in a file.
    pub head: &'static str,
    /// What it is.
    pub purpose: &'static str,
    /// Its keys, by what they are about.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, purpose: &'static str) -> Key {
    Key { name, kind, default, purpose }
}

/// All sections, in the order of the manual page.
pub const SECTIONS: [&Keys; 4] = [&SERVE, &METRICS, &TENANT, &QUOTAS];

/// `[serve]`.
pub const SERVE: Keys = Keys {
    head: "[serve]",
    purpose: "What concerns all tenants. All of it may be left out. A reload takes over a new shutdown; other changes \
              wait for the next start of the service.",
    keys: &[
        key(
            "socket",
            Kind::Path,
            None,
            "The control socket, in a directory of mode 0700. Without it /run/kcov-broker/control, or \
             $XDG_RUNTIME_DIR/kcov-broker/control of an ordinary user.",
        ),
        key(
            "uids",
            Kind::Text,
            Some("\"1895825408-1895890943\""),
            "With root: FIRST-LAST, the uids and gids that workers run under, one for each tenant. No account, and no \
             container, may have any of them.",
        ),
        key(
            "shutdown",
            Kind::Time,
            Some("\"30s\""),
            "Longest that an orderly end of all tenants takes after SIGTERM; what is left then is killed.",
        ),
        key(
            "log-format",
            Kind::OneOf(&["text", "json"]),
            Some("\"text\""),
            "Form of the log on standard error.",
        ),
        key("metrics", Kind::Section, None, "Where counters are kept for Prometheus; see below."),
    ],
};

/// `[serve.metrics]`.
pub const METRICS: Keys = Keys {
    head: "[serve.metrics]",
    purpose: "Keeps the tenants' counters for Prometheus while the service runs, as kcov-broker metrics does. At least \
              one of file and listen must be given.",
    keys: &[
        key(
            "file",
            Kind::Path,
            None,
            "A file that is replaced whole again and again, and removed at the end of the service: for the node exporter, \
             NAME.prom in its textfile directory.",
        ),
        key("every", Kind::Time, Some("\"15s\""), "Time between two writes of the file."),
        key("listen", Kind::Path, None, "A Unix socket on which HTTP requests for /metrics are answered."),
    ],
};

/// `[[tenant]]` and, but for name and command, `[defaults]`.
pub const TENANT: Keys = Keys {
    head: "[[tenant]]",
    purpose: "A command and how it is to run; a section for each. The section [defaults] takes the same keys but name and \
              command: they hold for each tenant that does not have them itself, key by key, those of quotas as well.",
    keys: &[
        key(
            "name",
            Kind::Text,
            None,
            "What the tenant is called: at most 64 letters, digits, '-', '_' and '.', a letter or digit first. Must be \
             given, and no two tenants have the same.",
        ),
        key(
            "command",
            Kind::Texts,
            None,
            "Program and arguments; no shell is in between. A program without a slash is looked for in the PATH of the \
             tenant's environment, and a path that does not begin with one starts in directory. It must not go into \
             the background: the tenant ends when this process does, and what is left of it is killed. Must be given.",
        ),
        key(
            "user",
            Kind::Text,
            None,
            "Who the command runs as, by name or number; with root only. Without it, who runs the service.",
        ),
        key("group", Kind::Text, None, "Its group, with user only. Without it, the user's own."),
        key(
            "groups",
            Kind::Texts,
            None,
            "Its supplementary groups, with user only. Without it, those that the system has for the user.",
        ),
        key(
            "environment",
            Kind::Variables,
            Some("{}"),
            "Variables of its environment, besides PATH and the user's HOME, SHELL, USER and LOGNAME.",
        ),
        key(
            "inherit-environment",
            Kind::Texts,
            Some("[]"),
            "Names of variables that it gets from the environment of the service, of which it has nothing else.",
        ),
        key("directory", Kind::Path, Some("\"/\""), "Its working directory."),
        key(
            "trace",
            Kind::Text,
            Some("\"kcov\""),
            "Which calls go to the workers: kcov, syzkaller, all, or names of calls, as an array or between commas.",
        ),
        key(
            "handlers",
            Kind::Texts,
            Some("[]"),
            "Libraries with handlers, as LIBRARY or LIBRARY:CONFIG, asked in this order.",
        ),
        key(
            "worker",
            Kind::Path,
            None,
            "The worker program. Without it, kcov-worker beside kcov-broker or in ../libexec/kcov-broker.",
        ),
        key(
            "extensions",
            Kind::Texts,
            Some("[\"reset\"]"),
            "Proposed KCOV requests to answer: reset, reset-by-any; [] for none.",
        ),
        key(
            "kallsyms",
            Kind::Switch,
            Some("false"),
            "Whether the command sees a /proc/kallsyms whose _stext and _etext enclose all PCs.",
        ),
        key(
            "map-root",
            Kind::Switch,
            Some("false"),
            "For a service of an ordinary user: whether the command sees uid and gid 0.",
        ),
        key(
            "deadline",
            Kind::Time,
            Some("\"5s\""),
            "Longest that a call waits for its worker; then it is EIO.",
        ),
        key(
            "restart",
            Kind::OneOf(&["never", "on-failure", "always"]),
            Some("\"on-failure\""),
            "When the command is started again. A tenant that could not be started has failed.",
        ),
        key(
            "restart-delay",
            Kind::Time,
            Some("\"1s\""),
            "Time before that; twice as long each time that it did not run for a minute, up to a minute.",
        ),
        key(
            "restart-max",
            Kind::Count,
            None,
            "Most restarts without a run of a minute between them; then the tenant stays failed. Without it, no bound.",
        ),
        key("quotas", Kind::Section, None, "Bounds on what the tenant may have; see below."),
        key(
            "on-broker-death",
            Kind::OneOf(&["stop", "enosys"]),
            Some("\"stop\""),
            "What becomes of the command if its broker is killed: it is killed too, or goes on with ENOSYS for traced calls.",
        ),
        key("worker-memory", Kind::Size, Some("\"1G\""), "Most memory of a worker for data of its own."),
        key(
            "cgroup",
            Kind::Text,
            None,
            "Under which control group one for zygote and workers is made: own, or a path as /proc/self/cgroup has it. \
             Without it none is made.",
        ),
        key(
            "artifacts",
            Kind::Path,
            None,
            "Folder in which artifacts of crashes and hangs are kept. Without it none are.",
        ),
        key(
            "publish",
            Kind::OneOf(&["all", "own", "none"]),
            Some("\"all\""),
            "Who may see the counters in kcov-broker top, status and metrics: everybody, who runs the service, nobody.",
        ),
        key("report", Kind::Path, None, "File for counts at the end of each run, as JSON. Without it, none."),
        key(
            "output",
            Kind::Text,
            Some("\"inherit\""),
            "Where standard output and error go: inherit (where those of the service go), null, or a file that is appended \
             to, named with a '/'. In the journal lines have the tenant's name as their identifier: journalctl -t NAME; anywhere \
             else nothing marks what is inherited.",
        ),
        key("stop-signal", Kind::Text, Some("\"SIGTERM\""), "Signal that asks the command to end."),
        key("stop-grace", Kind::Time, Some("\"10s\""), "How long it may take for that; then it is killed."),
    ],
};

/// `[tenant.quotas]`.
pub const QUOTAS: Keys = Keys {
    head: "[tenant.quotas]",
    purpose: "Bounds of one tenant. What is beyond is refused with the errno that the kernel would give, before anything \
              is allocated.",
    keys: &[
        key("area", Kind::Size, Some("\"2G\""), "Bytes of one area; a larger KCOV_INIT_TRACE is ENOMEM."),
        key("total", Kind::Size, Some("\"16G\""), "Bytes of all areas together."),
        key(
            "instances",
            Kind::Count,
            Some("65536"),
            "Instances of the device at a time; a further open is ENFILE.",
        ),
        key(
            "handles",
            Kind::Count,
            Some("65536"),
            "Remote handles taken at a time; a further KCOV_REMOTE_ENABLE is ENOMEM.",
        ),
        key(
            "assist-rate",
            Kind::Count,
            Some("1000000"),
            "Reads and writes of the tenant's memory that handlers make a second, each of at most 64 KiB; what is beyond \
             fails with ENOMEM.",
        ),
        key("assist-bytes", Kind::Size, Some("\"8G\""), "Bytes of them a second."),
        key(
            "crash-rate",
            Kind::Count,
            Some("32"),
            "Crashes of workers a second that cost nothing, a second's worth at once; after further ones the next worker \
             waits until they would be free. With 0 it waits after each.",
        ),
        key(
            "restart-delay",
            Kind::Time,
            Some("\"1s\""),
            "Longest wait for the next worker when some in a row have crashed, or more than crash-rate allows; at most half \
             of the deadline.",
        ),
        key(
            "artifacts",
            Kind::Count,
            Some("1000"),
            "Most artifacts in the folder, those of earlier runs among them; others are counted.",
        ),
        key("artifact-bytes", Kind::Size, Some("\"1G\""), "Most bytes of them."),
    ],
};

#[cfg(test)]
mod tests;
