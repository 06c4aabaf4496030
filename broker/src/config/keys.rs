//! Every key of a configuration: what it takes, its default, and what it is for. The manual page is generated
//! from this table. A test compares it with the keys and defaults of the parser. The keys of quotas follow
//! from the table in [`kcov_proto::quota`].

use crate::launch::quotas::written;
use kcov_proto::quota::{ROWS, Unit};

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// Its default, if a value can express it.
    default: DefaultValue,
    /// What it is for, and any default that no value expresses.
    pub purpose: &'static str,
}

/// The default of a key.
#[derive(Clone, Copy, Debug)]
enum DefaultValue {
    /// None that a value expresses.
    Absent,
    /// A value as it is written in a file.
    Value(&'static str),
    /// The default of a quota.
    Quota(Unit, u64),
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An array of strings.
    Texts,
    /// The name of a file or directory.
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
    /// A section.
    Section,
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Its header.
    pub head: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Its keys, grouped by subject.
    pub keys: &'static [Key],
}

impl Key {
    /// The default, as it is written in a file.
    #[must_use]
    pub fn default(&self) -> Option<String> {
        match self.default {
            DefaultValue::Absent => None,
            DefaultValue::Value(text) => Some(text.to_owned()),
            DefaultValue::Quota(Unit::Count, number) => Some(number.to_string()),
            DefaultValue::Quota(unit, number) => Some(format!("\"{}\"", written(unit, number))),
        }
    }
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, purpose: &'static str) -> Key {
    let default = match default {
        Some(text) => DefaultValue::Value(text),
        None => DefaultValue::Absent,
    };
    Key { name, kind, default, purpose }
}

/// All sections, in the order of the manual page.
pub const SECTIONS: [&Keys; 4] = [&SERVE, &METRICS, &TENANT, &QUOTAS];

/// `[serve]`.
pub const SERVE: Keys = Keys {
    head: "[serve]",
    purpose: "Settings of the service as a whole. The section is optional. A reload applies a new shutdown; other changes \
              take effect when the service is restarted.",
    keys: &[
        key(
            "socket",
            Kind::Path,
            None,
            "The control socket, in a directory with mode 0700. The default is /run/kcov-broker/control, or \
             $XDG_RUNTIME_DIR/kcov-broker/control for an ordinary user.",
        ),
        key(
            "uids",
            Kind::Text,
            Some("\"1895825408-1895890943\""),
            "With root: FIRST-LAST, the uids and gids for workers, one for each tenant. No account and no container may \
             use any of them.",
        ),
        key(
            "shutdown",
            Kind::Time,
            Some("\"30s\""),
            "Maximum time for an orderly shutdown after SIGTERM. Tenants that still run after that are killed.",
        ),
        key(
            "log-format",
            Kind::OneOf(&["text", "json"]),
            Some("\"text\""),
            "Format of the log on standard error.",
        ),
        key("metrics", Kind::Section, None, "Export of counters to Prometheus; see below."),
    ],
};

/// `[serve.metrics]`.
pub const METRICS: Keys = Keys {
    head: "[serve.metrics]",
    purpose: "Exports the tenants' counters to Prometheus while the service runs, as kcov-broker metrics does. At least one \
              of file and listen is required.",
    keys: &[
        key(
            "file",
            Kind::Path,
            None,
            "A file that is replaced atomically at each write, and removed when the service ends. For the node exporter, use \
             NAME.prom in its textfile directory.",
        ),
        key("every", Kind::Time, Some("\"15s\""), "Time between two writes of the file."),
        key("listen", Kind::Path, None, "A Unix socket that answers HTTP requests for /metrics."),
    ],
};

/// `[[tenant]]` and, except for name and command, `[defaults]`.
pub const TENANT: Keys = Keys {
    head: "[[tenant]]",
    purpose: "A command and how it is run; one section for each. The section [defaults] takes the same keys except name and \
              command. They apply to every tenant that does not set them itself. This includes the keys of quotas, one by one.",
    keys: &[
        key(
            "name",
            Kind::Text,
            None,
            "Name of the tenant: at most 64 letters, digits, '-', '_' and '.', beginning with a letter or digit. Required, and \
             unique.",
        ),
        key(
            "command",
            Kind::Texts,
            None,
            "Program and arguments, executed without a shell. A program without a slash is searched in the PATH of the \
             tenant's environment; a relative path starts in directory. The program must not go into the background: the \
             tenant ends when this process does, and processes that it leaves are killed. Required.",
        ),
        key(
            "user",
            Kind::Text,
            None,
            "User of the command, by name or number; only with root. The default is the user of the service.",
        ),
        key("group", Kind::Text, None, "Its group; only with user. The default is the user's own."),
        key(
            "groups",
            Kind::Texts,
            None,
            "Its supplementary groups; only with user. The default is the groups that the system has for the user.",
        ),
        key(
            "environment",
            Kind::Variables,
            Some("{}"),
            "Variables of its environment, in addition to PATH and the user's HOME, SHELL, USER and LOGNAME.",
        ),
        key(
            "inherit-environment",
            Kind::Texts,
            Some("[]"),
            "Names of variables to inherit from the service. No others are inherited.",
        ),
        key("directory", Kind::Path, Some("\"/\""), "Its working directory."),
        key(
            "trace",
            Kind::Text,
            Some("\"kcov\""),
            "System calls that go to the workers: kcov, syzkaller, all, or names of calls, as an array or separated by commas.",
        ),
        key(
            "handlers",
            Kind::Texts,
            Some("[]"),
            "Libraries with handlers, as LIBRARY or LIBRARY:CONFIG. They are asked in this order.",
        ),
        key(
            "worker",
            Kind::Path,
            None,
            "The worker program. The default is kcov-worker in the directory of kcov-broker, or in ../libexec/kcov-broker.",
        ),
        key(
            "kcov-rules",
            Kind::OneOf(&["6.12", "7.2"]),
            Some("\"7.2\""),
            "The kernel whose rules decide how many instances of the device a thread may enable.",
        ),
        key(
            "extensions",
            Kind::Texts,
            Some("[\"reset\", \"unique\"]"),
            "What the device offers beyond current kernels: reset, unique, reset-by-any, shared; [] for nothing. reset-by-any \
             and shared are added to the default; otherwise the list replaces it.",
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
            "For the service of an ordinary user: whether the command sees uid and gid 0.",
        ),
        key(
            "deadline",
            Kind::Time,
            Some("\"5s\""),
            "Longest time that a worker may take for a call; after that the worker is killed and the call fails with EIO.",
        ),
        key(
            "restart",
            Kind::OneOf(&["never", "on-failure", "always"]),
            Some("\"on-failure\""),
            "When the command is restarted. A tenant that could not be started counts as failed.",
        ),
        key(
            "restart-delay",
            Kind::Time,
            Some("\"1s\""),
            "Delay of a restart. It doubles after each run of less than a minute, up to a minute.",
        ),
        key(
            "restart-max",
            Kind::Count,
            None,
            "Maximum number of restarts without a run of at least a minute between them; after that the tenant stays \
             failed. There is no limit by default.",
        ),
        key("quotas", Kind::Section, None, "Limits on the resources of the tenant; see below."),
        key(
            "on-broker-death",
            Kind::OneOf(&["stop", "enosys"]),
            Some("\"stop\""),
            "What happens to the command if its broker is killed: it is killed too, or it keeps running and its traced calls \
             fail with ENOSYS.",
        ),
        key(
            "worker-memory",
            Kind::Size,
            Some("\"1G\""),
            "Maximum size of a worker's own data; allocations beyond it fail.",
        ),
        key(
            "cgroup",
            Kind::Text,
            None,
            "Parent of a control group for zygote and workers: own, or a path as in /proc/self/cgroup. By default no group is \
             made.",
        ),
        key(
            "artifacts",
            Kind::Path,
            None,
            "Directory for artifacts of crashes and hangs. By default none are written. If the service has root, the directory must \
             belong to root or to `user`, and nobody else may write to it.",
        ),
        key(
            "publish",
            Kind::OneOf(&["all", "own", "none"]),
            Some("\"all\""),
            "Who may see the counters in kcov-broker top, status and metrics: everybody, the user of the service, nobody.",
        ),
        key(
            "report",
            Kind::Path,
            None,
            "File for counters at the end of each run, as JSON. By default none is written.",
        ),
        key(
            "output",
            Kind::Text,
            Some("\"inherit\""),
            "Where standard output and error go: inherit (to those of the service), null, or a file to append to, whose name \
             must contain a '/'. In the journal, inherited lines have the tenant's name as identifier: journalctl -t NAME. \
             Elsewhere they are not marked.",
        ),
        key("stop-signal", Kind::Text, Some("\"SIGTERM\""), "Signal that asks the command to end."),
        key("stop-grace", Kind::Time, Some("\"10s\""), "Time between stop-signal and SIGKILL."),
    ],
};

/// `[tenant.quotas]`.
pub const QUOTAS: Keys = Keys {
    head: "[tenant.quotas]",
    purpose: "Limits on the resources of one tenant. Requests beyond a limit fail with the errno that the kernel would return, \
              before anything is allocated.",
    keys: &QUOTA_KEYS,
};

const QUOTA_KEYS: [Key; ROWS.len()] = {
    let mut keys = [key("", Kind::Count, None, ""); ROWS.len()];
    let mut at = 0;
    while at < keys.len() {
        let row = &ROWS[at];
        let kind = match row.unit {
            Unit::Bytes => Kind::Size,
            Unit::Count => Kind::Count,
            Unit::Time => Kind::Time,
        };
        keys[at] = Key {
            name: row.key,
            kind,
            default: DefaultValue::Quota(row.unit, row.default),
            purpose: row.purpose,
        };
        at += 1;
    }
    keys
};

#[cfg(test)]
mod tests;
