//! The counters and violations of a soak.

use super::inside::Done;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Resources of one broker: medians after the warm-up and at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Resident memory after the warm-up, KiB.
    pub early_kib: u64,
    /// Resident memory at the end, KiB.
    pub late_kib: u64,
    /// Descriptors after the warm-up.
    pub early_fds: u64,
    /// Descriptors at the end.
    pub late_fds: u64,
    /// The most processes at a time.
    pub most_processes: u64,
}

/// The results of a soak.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Random seed.
    pub seed: u64,
    /// Duration in seconds.
    pub seconds: u64,
    /// Acts by broker and client.
    pub acts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Acts that this machine does not support.
    pub unavailable: u64,
    /// Runs beside the long-lived brokers.
    pub runs_beside: u64,
    /// Rounds of the clients that know their own pattern.
    pub pattern_rounds: u64,
    /// Calls that gave `EIO` because their worker was killed.
    pub eios: u64,
    /// Workers killed.
    pub kills: u64,
    /// Opens of the device in the long-lived brokers.
    pub instances: u64,
    /// Notifications of the long-lived brokers.
    pub notifications: u64,
    /// Records of the long-lived brokers.
    pub records: u64,
    /// Resources of each broker.
    pub figures: BTreeMap<String, Figures>,
    /// What went wrong.
    pub violations: Vec<String>,
}

impl Summary {
    /// Adds a violation.
    pub fn violation(&mut self, what: &str) {
        eprintln!("violation (seed {}): {what}", self.seed);
        self.violations.push(what.to_owned());
    }

    /// Acts of all brokers.
    #[must_use]
    pub fn acts_done(&self) -> u64 {
        self.acts.values().flat_map(BTreeMap::values).sum()
    }

    /// Adds the results of a driver.
    pub fn add_driver(&mut self, broker: &str, done: Done) {
        let Done { acts, unavailable, pattern_rounds, eios, violations } = done;
        self.unavailable += unavailable;
        self.pattern_rounds += pattern_rounds;
        self.eios += eios;
        violations.iter().for_each(|what| self.violation(&format!("{broker}: {what}")));
        let counts = self.acts.entry(broker.to_owned()).or_default();
        for (act, times) in acts {
            *counts.entry(act).or_default() += times;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} s: {} acts, {} runs beside, {} acts not supported here",
            self.seed,
            self.seconds,
            self.acts_done(),
            self.runs_beside,
            self.unavailable
        )?;
        writeln!(
            f,
            "{} instances, {} notifications, {} records; {} rounds with own patterns; {} workers killed, {} EIO",
            self.instances, self.notifications, self.records, self.pattern_rounds, self.kills, self.eios
        )?;
        for (broker, figures) in &self.figures {
            let Figures { early_kib, late_kib, early_fds, late_fds, most_processes } = figures;
            writeln!(
                f,
                "{broker}: {early_kib} -> {late_kib} KiB, {early_fds} -> {late_fds} descriptors, at most \
                 {most_processes} processes"
            )?;
        }
        write!(f, "{} violations", self.violations.len())
    }
}
