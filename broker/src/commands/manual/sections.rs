//! Sections that the pages of commands have in addition to their help.

/// A title, and terms with their descriptions.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// The additional sections of a page.
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
            (
                "/etc/kcov-broker/serve.toml",
                "Configuration of the installed service, see kcov-broker.toml(5).",
            ),
            ("/dev/shm/kcov-broker.UID.RUN", "Counters of a run or tenant, read by kcov-broker-status(1)."),
            (
                "/usr/share/doc/kcov-broker",
                "README.md; TUTORIAL.md, about handlers; LIMITS.md, about limits and the meaning of each errno; examples of handlers and configurations.",
            ),
        ],
    ),
    ("SEE ALSO", &[("kcov-broker-run(1), kcov-broker-serve(1), kcov-broker.toml(5), kcov-handler(7)", "")]),
];

const RUN: [Section; 3] = [
    (
        "THE DEVICE",
        &[
            (
                "--kcov-rules 7.2",
                "A thread may own one instance by KCOV_ENABLE and another one by KCOV_REMOTE_ENABLE. With 6.12 it owns at most one instance; a further request fails with EBUSY.",
            ),
            (
                "--extensions unique",
                "KCOV_UNIQUE_ENABLE (0x40086367) records each point once. Its argument is the size in words of a bitmap at the start of the area; the count is in the word behind it, and the PCs follow. A point whose bit is set is suppressed. Storing 0 to the bitmap and the count starts over, as does KCOV_RESET_TRACE.",
            ),
            (
                "--extensions shared",
                "Several threads may enable one instance, all in the same mode. Each of them disables it for itself, or by its exit.",
            ),
            ("LIMITS.md compares the device with that of the kernel.", ""),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("status of COMMAND", "COMMAND exited."),
            ("128 + N", "COMMAND was killed by signal N."),
            ("127", "COMMAND was not found."),
            ("126", "COMMAND was found but cannot be executed."),
            ("125", "kcov-broker failed; see its message."),
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
            "The command of the systemd unit, without the unit's sandbox. Run it as root, as the command of a container or \
             from another init system. It stays in the foreground, logs to standard error, and exits after SIGTERM.",
        )],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Sends every tenant its stop-signal, and kills it after its stop-grace. The service exits within the configured \
                 shutdown time. A second signal kills all tenants at once.",
            ),
            (
                "SIGHUP",
                "Reloads the configuration: starts new tenants, stops removed ones, and restarts changed ones. Other tenants are \
                 not affected. If the configuration has errors, nothing changes and the log reports them.",
            ),
            ("SIGKILL", "Every broker notices the end of the service and ends its tenant."),
        ],
    ),
    (
        "TENANTS THAT CANNOT RUN",
        &[(
            "a handler, worker program, user, directory or command does not exist",
            "Only this tenant fails, and is restarted according to its key restart. kcov-broker tenant list shows the reason. \
             Paths are resolved as the service sees them: the sandbox of the unit has its own /tmp, and everything except \
             /var/lib/kcov-broker and /var/log/kcov-broker is read-only.",
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
                "Control socket of a service that runs as root, for kcov-broker-tenant(1). Its directory has mode 0700.",
            ),
            (
                "$XDG_RUNTIME_DIR/kcov-broker/control",
                "Control socket of a service that runs as an ordinary user.",
            ),
            ("/dev/shm/kcov-broker.UID.RUN", "Counters of a tenant, read by kcov-broker-status(1)."),
            (
                "/var/lib/kcov-broker, /var/log/kcov-broker",
                "Directories that tenants of the installed service may write to.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "The service was ended by a signal, and all its tenants have ended."),
            ("78", "The configuration has errors, and nothing was started. Messages have line and key."),
            ("125", "Another failure: another service is running, or this machine lacks a required feature."),
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
            ("the text", "Syntax, keys, types, bounds, duplicate names, contradicting keys."),
            (
                "this machine",
                "Users, groups, uids that accounts use, files and directories, permissions, named control groups, and whether the \
                 files of handlers are libraries that export one. Nothing is loaded or started. Skipped with --text.",
            ),
            (
                "the tenants' users",
                "Whether they may enter the directory and execute the command, by the owners and modes of all directories above. \
                 Files with an access control list are skipped. Also whether several tenants run as the same user and can \
                 therefore signal and trace each other. These are warnings, not errors. Only with root.",
            ),
            (
                "not checked",
                "What only a start can show: whether a library can be loaded, and whether its handler accepts its configuration; \
                 the control group `own`; and paths in the file system of a service with a sandbox, such as the installed one.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "There are no errors."),
            (
                "1",
                "There are errors. Each is a line of the form FILE:LINE: KEY: MESSAGE. Warnings are not errors.",
            ),
        ],
    ),
    ("SEE ALSO", &[("kcov-broker.toml(5), kcov-broker-serve(1)", "")]),
];

const TENANT: [Section; 2] = [
    ("EXIT STATUS", &[("0", "The request succeeded."), ("125", "The request failed; see the message.")]),
    ("SEE ALSO", &[("kcov-broker-serve(1), kcov-broker.toml(5)", "")]),
];
