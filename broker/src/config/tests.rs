//! Configurations: what is right becomes what it says, what is wrong is told whole.

use super::tenant::RestartWhen;
use super::{Config, ConfigErrors, Source};
use crate::launch::OnBrokerDeath;
use crate::launch::quotas::{self, Quotas};
use crate::launch::service::Output;
use kcov_proto::quota::Quota;
use nix::sys::signal::Signal;
use proptest::prelude::*;
use std::time::Duration;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, &Source { name: "f".into(), directory: "/d".into() })
}

/// `LINE KEY`, and a part of the message.
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
    let config = parse("").expect("right");
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
    let config = parse(text).expect("right");
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
    assert_eq!(one.trace.to_string(), "kcov,read,write");
    assert_eq!(one.handlers, ["/d/lib.so:x=y", "/abs.so"]);
    assert!(one.extensions.reset_by_any && one.kallsyms && one.map_root);
    assert_eq!(one.deadline, Duration::from_millis(500));
    assert_eq!((one.restart.when, one.restart.delay), (RestartWhen::Always, Duration::from_secs(2)));
    assert_eq!((one.restart.most, one.worker_memory), (Some(7), 64 << 20));
    assert_eq!((one.quotas.area, one.quotas.total, one.quotas.instances), (1 << 20, 2 << 20, 3));
    assert_eq!(one.on_broker_death, OnBrokerDeath::Enosys);
    assert_eq!(one.output, Output::File("/d/log".into()));
    assert_eq!((one.stop_signal, one.stop_grace), (Signal::SIGINT, Duration::from_millis(1500)));
}

#[test]
fn each_quota_has_a_key_that_sets_it_alone() {
    for quota in Quota::ALL {
        let key = quotas::setting(quota).key;
        let text = format!("[[tenant]]\nname = \"one\"\ncommand = [\"a\"]\nquotas = {{ {key} = 7 }}");
        let set = parse(&text).expect("right").tenants[0].quotas;
        for other in Quota::ALL {
            let expected = if other == quota { 7 } else { Quotas::default().bound(other) };
            assert_eq!(set.bound(other), expected, "{quota:?}, {other:?}");
        }
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
    let tenants = parse(text).expect("right").tenants;
    let quotas = tenants.iter().map(|tenant| (tenant.quotas.area, tenant.quotas.instances));
    assert_eq!(quotas.collect::<Vec<_>>(), [(1 << 20, 6), (1 << 20, 5)]);
    assert_eq!(tenants.iter().map(|tenant| tenant.deadline.as_secs()).collect::<Vec<_>>(), [2, 1]);
    assert!(tenants.iter().all(|tenant| tenant.trace.to_string() == "all"));
}

#[test]
fn all_that_is_wrong_is_told_with_its_line_and_key() {
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
            ("7 tenant.name", "no name"),
            ("8 tenant.command", r#"command = ["sh", "-c", "true"]"#),
            ("9 tenant.name", "is missing"),
            ("10 tenant.command", "names no program"),
            ("11 tenant.trace", "openat"),
            ("15 tenant.restart", "\"never\", \"on-failure\", \"always\""),
            ("16 tenant.kallsyms", "true or false, found an integer"),
            ("17 tenant.quotas.area", "no number of at least 0"),
            ("17 tenant.quotas.bites", "unknown key"),
            ("18 tenant.environment", "no name of a variable"),
            ("20 tenant.name", "line 13 already"),
            ("22 tenant.output", "./log"),
            ("23 extra", "unknown key"),
        ],
    );
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let errors = parse("[serve]\nsocket = \n[[tenant]\n").expect_err("errors").0;
    assert!(errors.len() >= 2 && errors[0].place.line == 2, "{errors:#?}");
    assert!(errors[0].to_string().starts_with("f:2: "), "{}", errors[0]);
}

#[test]
fn a_line_that_is_no_toml_hides_no_other() {
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
            // Nobody knows whose keys follow.
            ("10 defaults.user", "expected a string"),
        ],
    );
}

#[test]
fn no_more_is_told_than_anybody_reads() {
    for line in ["x\n", "[\n", "[[tenant]]\n"] {
        let errors = parse(&line.repeat(4000)).expect_err("errors").0;
        assert_eq!(errors.len(), 1000, "{line:?}");
    }
    let keys: String = (0..4000).map(|key| format!("k{key} = 1\n")).collect();
    assert_eq!(parse(&keys).expect_err("errors").0.len(), 1000);
}

#[test]
fn what_has_no_end_is_told_once() {
    let open = "[[tenant]]\nname = \"a\"\ncommand = [\"b\"\ntrace = \"all\"\n[serve]\nfoo = 1\n";
    assert_errors(open, &[("4 ", "no end")]);
    assert_errors("[serve]\nsocket = \"\"\"x\nfoo = 1\n", &[("3 ", "no end")]);
}

#[test]
fn keys_that_contradict_each_other_are_told() {
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
        ("3 defaults.quotas.area", "above `total`"),
        ("16 tenant.quotas.area", "2 bytes is above `total`, 1 bytes"),
    ];
    assert_errors(text, &expected);
    // The area of the defaults is an upper bound that nobody named.
    let small = "[[tenant]]\nname = \"a\"\ncommand = [\"b\"]\nquotas = { total = \"1M\" }\n";
    assert!(parse(small).is_ok());
}

#[test]
fn one_table_in_place_of_many_says_how_to_write_it() {
    assert_errors("[tenant]\nname = \"a\"\n", &[("1 tenant", "[[tenant]]")]);
}

proptest! {
    /// No text makes the reader panic, and an error always has a line of the file.
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[\\[tenant\\]\\]\n|\\[serve\\]\n|\\[defaults\\]\n|[a-z-]{1,12} = (\"[^\"]{0,9}\"|[0-9.x_-]{1,9}|\\[\\]|\\{\\}|true)\n|\\PC{0,12}\n){0,12}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                prop_assert!((1..=text.lines().count().max(1)).contains(&error.place.line), "{}", error);
            }
        }
    }

    /// Nor do bytes of any length that are a text.
    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}
