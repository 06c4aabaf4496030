//! Sixteen tenants under load, whose workers are killed all the time.

use crate::killer::Killer;
use crate::{FACTS, GO, READY};
use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::report::Report;
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Control, Session, client};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Tenants under load.
const TENANTS: usize = 16;
/// The calls of the clients that are traced. No futex: the C library aborts on EIO from a futex.
const TRACE: &str = "trace = [\"kcov\", \"getppid\", \"read\", \"dup\"]";
/// Two deadlines in milliseconds: a call that takes this long was lost.
const FORGOTTEN_MS: u64 = 10_000;
/// Descriptors that a broker caches: its tables, and pidfds of former owners.
const CACHES: u64 = 64 + 256 + 64;

/// Names of the facts of a survivor, in order.
const FACT_NAMES: [&str; 5] =
    ["rounds", "EIOs", "wrong results", "slowest call, ms", "descriptors left over"];

struct Load {
    service: Service,
    controls: Vec<Control>,
    reports: Vec<PathBuf>,
}

impl Load {
    fn start() -> Result<Self> {
        let session = Session::new()?;
        let program = client("survivor")?.into_os_string();
        let (mut controls, mut reports, mut tenants) = (Vec::new(), Vec::new(), String::new());
        for number in 0..TENANTS {
            let control = Control::new(session.path(&format!("control-{number}")))?;
            let report = session.path(&format!("report-{number}"));
            let words = [program.clone(), control.path().as_os_str().to_owned()];
            tenants += &tenant(&format!("t{number}"), &words, &format!("{TRACE}\nreport = {report:?}"));
            controls.push(control);
            reports.push(report);
        }
        let service = Service::start_in(session, &tenants, &[], &[])?;
        for control in &controls {
            service.reach(control, READY, 1)?;
        }
        Ok(Load { service, controls, reports })
    }

    /// Ends the clients, and asserts that nothing went wrong and nothing is left.
    fn finish(self) -> Result<[u64; 5]> {
        let Load { service, controls, reports } = self;
        let mut sums = [0; 5];
        for control in &controls {
            control.set(GO, 1)?;
        }
        for (number, control) in controls.iter().enumerate() {
            let name = format!("t{number}");
            let tenant = service.wait_state(&name, "stopped")?;
            assert_eq!(tenant.last_status, Some(0), "{tenant:?}\n{}", service.log());
            for (fact, sum) in sums.iter_mut().enumerate() {
                let value = control.get(FACTS + fact as u64)?;
                *sum = if fact == 3 { (*sum).max(value) } else { *sum + value };
            }
            let report: Report =
                serde_json::from_slice(&fs::read(&reports[number])?).context("the report")?;
            report.assert_nothing_left();
            assert!(report.open_fds_end <= report.open_fds_start + CACHES, "{name}: {report:?}");
        }
        service.wait_empty()?;
        service.stop()?;
        Ok(sums)
    }
}

/// Whichever workers die, each caller gets its result or EIO, the result is right, and nothing is left.
#[test]
fn sixteen_tenants_survive_the_death_of_their_workers() -> Result<()> {
    let time = Duration::from_secs(if kcov_tests::long() { 600 } else { 20 });
    let load = Load::start()?;
    let kills = Killer::new(&load.service.session, None).kill_for(time);
    let sums = load.finish()?;
    println!("{kills}; {:?}", FACT_NAMES.iter().zip(sums).collect::<Vec<_>>());
    assert!(kills.kills >= kills.ticks() / 3, "{kills}");
    assert_eq!((sums[2], sums[4]), (0, 0), "wrong results, descriptors left over");
    assert!(sums[3] < FORGOTTEN_MS, "a call took {} ms", sums[3]);
    Ok(())
}

/// The effect that the deaths of other tenants' workers have on a quiet tenant: its latencies under the same
/// load, with and without kills.
#[test]
fn killed_workers_hardly_slow_down_a_quiet_tenant() -> Result<()> {
    let time = Duration::from_secs(if kcov_tests::long() { 60 } else { 3 });
    let load = Load::start()?;
    let control = Control::new(load.service.session.path("quiet"))?;
    let words = [client("quiet")?.into_os_string(), control.path().as_os_str().to_owned()];
    load.service.add(&tenant("quiet", &words, TRACE))?;
    load.service.reach(&control, READY, 1)?;
    let broker = load.service.tenant("quiet")?.broker.map(Process);
    let measure = |kills: bool, round: u64| -> Result<[u64; 3]> {
        control.set(GO, 2 * round - 1)?;
        if kills {
            println!("{}", Killer::new(&load.service.session, broker).kill_for(time));
        } else {
            sleep(time);
        }
        control.set(GO, 2 * round)?;
        load.service.reach(&control, READY, 1 + round)?;
        Ok([control.get(FACTS)?, control.get(FACTS + 1)?, control.get(FACTS + 2)?])
    };
    // Interleaved, as the load of the machine drifts.
    let rounds = [measure(false, 1)?, measure(true, 2)?, measure(false, 3)?, measure(true, 4)?];
    for (round, [calls, median, p99]) in rounds.iter().enumerate() {
        let what = if round % 2 == 0 { "without kills" } else { "with kills" };
        println!("{what}: {calls} calls, median {median} us, 99th percentile {p99} us");
        assert!(*calls > 0);
    }
    let p99 = |round: usize| (rounds[round][2] + rounds[round + 2][2]) as f64;
    println!("99th percentile with kills: {:.2} times that without", p99(1) / p99(0).max(1.0));
    control.set(GO, u64::MAX)?;
    load.service.wait("quiet", "over", |tenant| tenant.last_status == Some(0))?;
    load.finish()?;
    Ok(())
}
