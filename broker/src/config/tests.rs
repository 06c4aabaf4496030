//! Parsing configurations: valid ones, and the errors of invalid ones.

use super::tenant::RestartWhen;
use super::{Config, ConfigErrors, Source};
use crate::launch::Extension;
use crate::launch::OnBrokerDeath;
use crate::launch::quotas::Quotas;
use crate::launch::service::Output;
use kcov_proto::quota::{ROWS, Unit};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use std::time::Duration;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, &Source { name: "f".into(), directory: "/d".into() })
}

/// Checks that the errors are these: `LINE KEY`, and a part of the message.
#[track_caller]
fn assert_errors(text: &str, expected: &[(&str, &str)]) {
    let errors = parse(text).expect_err("errors").0;
    let found: Vec<_> =
        errors.iter().map(|error| format!("{} {}", error.place.line, error.place.key)).collect();
    let places: Vec<_> = expected.iter().map(|(place, _)| (*place).to_owned()).collect();
    assert_eq!(found, places, "{errors:#?}");
    for (error, (_, part)) in errors.iter().zip(expected) {
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn an_empty_file_has_no_tenants() {
    let config = parse("").expect("valid");
    assert!(config.tenants.is_empty() && config.serve == super::ServeConfig::default());
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [serve]
        socket = "run/control"
        uids = "70000-70099"
        shutdown = "5s"
        log-format = "json"
        [serve.metrics]
        file = "kcov.prom"
        listen = "/m"
        every = 3
        [[tenant]]
        name = "one"
        command = ["a", "b"]
        user = "u"
        group = "g"
        groups = ["h"]
        environment = { A = "1" }
        inherit-environment = ["B"]
        directory = "sub"
        trace = ["read", "write"]
        handlers = ["lib.so:x=y", "/abs.so"]
        worker = "w"
        extensions = ["reset-by-any"]
        kallsyms = true
        map-root = true
        deadline = "500ms"
        restart = "always"
        restart-delay = 2
        restart-max = 7
        quotas = { area = "1M", total = 2097152, instances = 3 }
        worker-memory = "64M"
        on-broker-death = "enosys"
        artifacts = "crashes"
        report = "r.json"
        output = "./log"
        stop-signal = "SIGINT"
        stop-grace = 1.5
    "#;
    let config = parse(text).expect("valid");
    assert_eq!(config.serve.socket.as_deref(), Some("/d/run/control".as_ref()));
    assert_eq!((config.serve.uids, config.serve.shutdown), (70_000..=70_099, Duration::from_secs(5)));
    let metrics = config.serve.metrics.expect("metrics");
    assert_eq!((metrics.file, metrics.listen), (Some("/d/kcov.prom".into()), Some("/m".into())));
    assert_eq!(metrics.every, Duration::from_secs(3));
    let [one] = &config.tenants[..] else { panic!("one tenant") };
    assert_eq!((one.name.as_str(), &one.command[..]), ("one", &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!((one.user.as_deref(), one.group.as_deref()), (Some("u"), Some("g")));
    assert_eq!(one.groups.as_deref(), Some(&["h".to_owned()][..]));
    assert_eq!((one.environment["A"].as_str(), one.inherit[0].as_str()), ("1", "B"));
    assert_eq!(one.directory, std::path::Path::new("/d/sub"));
    assert_eq!(one.options.trace.to_string(), "kcov,read,write");
    assert_eq!(one.options.handlers, ["/d/lib.so:x=y", "/abs.so"]);
    let options = &one.options;
    assert_eq!(options.extensions, [Extension::ResetByAny]);
    assert!(options.kallsyms && options.map_root);
    assert_eq!(options.deadline, Duration::from_millis(500));
    assert_eq!((one.restart.when, one.restart.delay), (RestartWhen::Always, Duration::from_secs(2)));
    assert_eq!((one.restart.most, options.worker_memory), (Some(7), 64 << 20));
    assert_eq!((options.quotas.area, options.quotas.total, options.quotas.instances), (1 << 20, 2 << 20, 3));
    assert_eq!(options.on_broker_death, OnBrokerDeath::Enosys);
    assert_eq!(one.output, Output::File("/d/log".into()));
    assert_eq!((one.stop_signal, one.stop_grace), (Signal::SIGINT, Duration::from_millis(1500)));
}

#[test]
fn each_quota_has_a_key_that_sets_only_it() {
    for row in ROWS {
        let key = row.key;
        let text = format!("[[tenant]]\nname = \"one\"\ncommand = [\"a\"]\nquotas = {{ {key} = 7 }}");
        let mut expected = Quotas::default();
        (row.set)(&mut expected, if row.unit == Unit::Time { 7_000_000_000 } else { 7 });
        assert_eq!(parse(&text).expect("valid").tenants[0].options.quotas, expected, "{key}");
    }
}

#[test]
fn a_tenant_overrides_the_defaults_key_by_key() {
    let text = r#"
        [defaults]
        trace = "all"
        deadline = "1s"
        quotas = { area = "1M", instances = 5 }
        [[tenant]]
        name = "one"
        command = ["a"]
        deadline = "2s"
        quotas = { instances = 6 }
        [[tenant]]
        name = "two"
        command = ["a"]
    "#;
    let tenants = parse(text).expect("valid").tenants;
    let quotas = tenants.iter().map(|tenant| (tenant.options.quotas.area, tenant.options.quotas.instances));
    assert_eq!(quotas.collect::<Vec<_>>(), [(1 << 20, 6), (1 << 20, 5)]);
    assert_eq!(tenants.iter().map(|tenant| tenant.options.deadline.as_secs()).collect::<Vec<_>>(), [2, 1]);
    assert!(tenants.iter().all(|tenant| tenant.options.trace.to_string() == "kcov,all"));
}

#[test]
fn every_error_is_reported_with_its_line_and_key() {
    let text = "\
[serve]
socet = \"x\"
uids = \"0-10\"
[defaults]
deadline = \"1 fortnight\"
[[tenant]]
name = \"a b\"
command = \"sh -c true\"
[[tenant]]
command = []
trace = \"opennat\"
[[tenant]]
name = \"x\"
command = [\"a\"]
restart = \"sometimes\"
kallsyms = 1
quotas = { area = -1, bites = 3 }
environment = { \"A=B\" = \"c\" }
[[tenant]]
name = \"x\"
command = [\"a\"]
output = \"log\"
[extra]
";
    assert_errors(
        text,
        &[
            ("2 serve.socet", "did you mean `socket`"),
            ("3 serve.uids", "root"),
            ("5 defaults.deadline", "unknown unit"),
            ("7 tenant.name", "not a valid name"),
            ("8 tenant.command", r#"command = ["sh", "-c", "true"]"#),
            ("9 tenant.name", "is missing"),
            ("10 tenant.command", "names no program"),
            ("11 tenant.trace", "openat"),
            ("15 tenant.restart", "\"never\", \"on-failure\", \"always\""),
            ("16 tenant.kallsyms", "true or false, found an integer"),
            ("17 tenant.quotas.area", "not a number of at least 0"),
            ("17 tenant.quotas.bites", "unknown key"),
            ("18 tenant.environment", "not a valid name of a variable"),
            ("20 tenant.name", "line 13 already"),
            ("22 tenant.output", "./log"),
            ("23 extra", "unknown key"),
        ],
    );
}

#[test]
fn syntax_errors_are_reported_with_their_line() {
    let errors = parse("[serve]\nsocket = \n[[tenant]\n").expect_err("errors").0;
    assert!(errors.len() >= 2 && errors[0].place.line == 2, "{errors:#?}");
    assert!(errors[0].to_string().starts_with("f:2: "), "{}", errors[0]);
}

#[test]
fn a_syntax_error_does_not_hide_other_errors() {
    let text = "\
[[tenant]]
name = \"one
command = [\"a\"]
colour = 1
restart = always
deadline = 0
[serve
uids = 1
[defaults]
user = 7
";
    assert_errors(
        text,
        &[
            ("2 ", "basic string"),
            ("4 tenant.colour", "unknown key"),
            ("5 ", "quoted"),
            ("6 tenant.deadline", "10ms"),
            ("7 ", "unclosed table"),
            // The section of the following keys is unknown, so they are not checked.
            ("10 defaults.user", "expected a string"),
        ],
    );
}

#[test]
fn the_number_of_reported_errors_is_bounded() {
    for line in ["x\n", "[\n", "[[tenant]]\n"] {
        let errors = parse(&line.repeat(4000)).expect_err("errors").0;
        assert_eq!(errors.len(), 1000, "{line:?}");
    }
    let keys: String = (0..4000).map(|key| format!("k{key} = 1\n")).collect();
    assert_eq!(parse(&keys).expect_err("errors").0.len(), 1000);
}

#[test]
fn an_unclosed_value_is_one_error() {
    let open = "[[tenant]]\nname = \"a\"\ncommand = [\"b\"\ntrace = \"all\"\n[serve]\nfoo = 1\n";
    assert_errors(open, &[("4 ", "never closed")]);
    assert_errors("[serve]\nsocket = \"\"\"x\nfoo = 1\n", &[("3 ", "never closed")]);
}

#[test]
fn contradicting_keys_are_reported() {
    let text = "\
[defaults]
group = \"g\"
quotas = { area = \"2G\" }
[[tenant]]
name = \"one\"
command = [\"a\"]
quotas = { total = \"1G\" }
[[tenant]]
name = \"two\"
command = [\"a\"]
user = \"u\"
[[tenant]]
name = \"three\"
command = [\"a\"]
user = \"u\"
quotas = { area = 2, total = 1 }
";
    let expected = [
        ("2 defaults.group", "without a user"),
        ("3 defaults.quotas.area", "larger than `total`"),
        ("16 tenant.quotas.area", "2 bytes is larger than `total`, 1 bytes"),
    ];
    assert_errors(text, &expected);
    // The default of `area` is larger, but the operator did not set it.
    let small = "[[tenant]]\nname = \"a\"\ncommand = [\"b\"]\nquotas = { total = \"1M\" }\n";
    assert!(parse(small).is_ok());
}

#[test]
fn single_brackets_for_a_tenant_are_explained() {
    assert_errors("[tenant]\nname = \"a\"\n", &[("1 tenant", "[[tenant]]")]);
}

proptest! {
    /// No text makes the parser panic, and every error has a line of the file.
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[\\[tenant\\]\\]\n|\\[serve\\]\n|\\[defaults\\]\n|[a-z-]{1,12} = (\"[^\"]{0,9}\"|[0-9.x_-]{1,9}|\\[\\]|\\{\\}|true)\n|\\PC{0,12}\n){0,12}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                prop_assert!((1..=text.lines().count().max(1)).contains(&error.place.line), "{}", error);
            }
        }
    }

    /// No other characters make the parser panic.
    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}
