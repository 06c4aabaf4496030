//! What the pages of commands say besides what their help does.

/// A title, and terms with what is said about them.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// Sections of the page of this name.
pub fn of(page: &str) -> &'static [Section] {
    match page {
        "kcov-broker" => &PROGRAM,
        "kcov-broker-run" => &RUN,
        "kcov-broker-serve" => &SERVE,
        "kcov-broker-check" => &CHECK,
        "kcov-broker-tenant" => &TENANT,
        _ => &[],
    }
}

const PROGRAM: [Section; 2] = [
    (
        "FILES",
        &[
            ("/etc/kcov-broker/serve.toml", "What the installed service runs, see kcov-broker.toml(5)."),
            (
                "/dev/shm/kcov-broker.UID.RUN",
                "The counters of a run or tenant, for others to read: kcov-broker-status(1).",
            ),
            (
                "/usr/share/doc/kcov-broker",
                "README.md; TUTORIAL.md, on handlers; LIMITS.md, on what is not promised and what an errno means; examples of handlers and of configurations.",
            ),
        ],
    ),
    ("SEE ALSO", &[("kcov-broker-run(1), kcov-broker-serve(1), kcov-broker.toml(5), kcov-handler(7)", "")]),
];

const RUN: [Section; 2] = [
    (
        "EXIT STATUS",
        &[
            ("that of COMMAND", "It ran, and ended."),
            ("128 + N", "It was ended by signal N."),
            ("127", "It was not found."),
            ("126", "It was found and cannot be executed."),
            ("125", "kcov-broker failed; the message says by what."),
        ],
    ),
    (
        "SEE ALSO",
        &[(
            "kcov-broker-doctor(1), kcov-broker-cover(1), kcov-broker-status(1), kcov-broker-replay(1), kcov-handler(7)",
            "",
        )],
    ),
];

const SERVE: [Section; 6] = [
    (
        "WITHOUT SYSTEMD",
        &[(
            "kcov-broker serve --config /etc/kcov-broker/serve.toml",
            "What the unit runs, in a sandbox of its own: run it as root, as the command of a container or by another \
             init. It stays in the foreground, logs to standard error, and ends at SIGTERM.",
        )],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Every tenant gets its stop-signal, and is killed after its stop-grace; all is over within shutdown of the \
                 configuration. A second one kills at once.",
            ),
            (
                "SIGHUP",
                "The configuration is read again. Tenants that are new are started, those that are gone are stopped, those \
                 that have changed are restarted, and no others. A text that is no configuration changes nothing, and is \
                 told in the log.",
            ),
            (
                "SIGKILL",
                "Every broker sees the end of the service, and ends its tenant, or lets it go on as on-broker-death says.",
            ),
        ],
    ),
    (
        "TENANTS THAT CANNOT RUN",
        &[(
            "a handler, worker program, user, folder or command is not there",
            "The tenant fails, is started again as its restart says, and keeps none of the others from running: \
             kcov-broker tenant list tells why. Paths are those that the service sees: in the unit's sandbox /tmp is another \
             one than a shell's, and all but /var/lib/kcov-broker and /var/log/kcov-broker is read-only.",
        )],
    ),
    (
        "FILES",
        &[
            (
                "/etc/kcov-broker/serve.toml",
                "The configuration of the installed service, see kcov-broker.toml(5).",
            ),
            (
                "/run/kcov-broker/control",
                "The control socket of a service of root, for kcov-broker-tenant(1). Its directory has mode 0700.",
            ),
            ("$XDG_RUNTIME_DIR/kcov-broker/control", "That of a service of an ordinary user."),
            (
                "/dev/shm/kcov-broker.UID.RUN",
                "The counters of a tenant, for others to read: kcov-broker-status(1).",
            ),
            (
                "/var/lib/kcov-broker, /var/log/kcov-broker",
                "Where tenants of the installed service may write.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "A signal ended it, and nothing is left."),
            ("78", "The configuration is wrong, and nothing was started; the messages have line and key."),
            ("125", "It failed otherwise: another one serves, or something of the machine is missing."),
        ],
    ),
    (
        "SEE ALSO",
        &[("kcov-broker.toml(5), kcov-broker-check(1), kcov-broker-tenant(1), kcov-broker-top(1)", "")],
    ),
];

const CHECK: [Section; 3] = [
    (
        "WHAT IS CHECKED",
        &[
            (
                "the text",
                "Syntax, keys, types, bounds, names that occur twice, keys that contradict each other.",
            ),
            (
                "this machine",
                "Users, groups, uids that are somebody's, files and folders, rights, and by their files whether handlers are \
                 libraries that export one; control groups that are named; nothing is loaded or started. Left out with --text.",
            ),
            (
                "the tenants' users",
                "Whether they may enter the directory and execute the command, by the owners and modes on the way: a warning if \
                 not, which is no error. A file with an access control list is not judged. And whether several \
                 tenants run as one user, who can signal and trace each other. With root only.",
            ),
            (
                "not",
                "What only a start tells: whether a library can be loaded, and its handler takes its configuration; the control \
                 group `own`; and what a service sees that has another view of the file system, as the installed one has.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "Nothing is wrong."),
            (
                "1",
                "Something is: a line each, as FILE:LINE: KEY: what and why. A warning alone is nothing wrong.",
            ),
        ],
    ),
    ("SEE ALSO", &[("kcov-broker.toml(5), kcov-broker-serve(1)", "")]),
];

const TENANT: [Section; 2] = [
    ("EXIT STATUS", &[("0", "What was asked for came about."), ("125", "It did not; the message says why.")]),
    ("SEE ALSO", &[("kcov-broker-serve(1), kcov-broker.toml(5)", "")]),
];
