//! What a soak did, and what was wrong.

use super::inside::Done;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Of one broker, medians: after the warm-up, and at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Resident memory at first, KiB.
    pub early_kib: u64,
    /// Resident memory at the end, KiB.
    pub late_kib: u64,
    /// Descriptors at first.
    pub early_fds: u64,
    /// Descriptors at the end.
    pub late_fds: u64,
    /// Most processes at a time.
    pub most_processes: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Where the random choices started.
    pub seed: u64,
    /// How long it took.
    pub seconds: u64,
    /// Acts by broker and client.
    pub acts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Acts that this machine has no means for.
    pub unavailable: u64,
    /// Runs beside the long-lived brokers.
    pub runs_beside: u64,
    /// Rounds of the clients that know their own pattern.
    pub pattern_rounds: u64,
    /// Calls that gave `EIO`, as their worker was killed.
    pub eios: u64,
    /// Workers killed.
    pub kills: u64,
    /// Opens of the device, by the long-lived brokers.
    pub instances: u64,
    /// Notifications, by the same.
    pub notifications: u64,
    /// Records, by the same.
    pub records: u64,
    /// What was seen of each broker.
    pub figures: BTreeMap<String, Figures>,
    /// What went wrong.
    pub violations: Vec<String>,
}

impl Summary {
    /// Something went wrong.
    pub fn violation(&mut self, what: &str) {
        eprintln!("WRONG (seed {}): {what}", self.seed);
        self.violations.push(what.to_owned());
    }

    /// Acts of all brokers.
    #[must_use]
    pub fn acts_done(&self) -> u64 {
        self.acts.values().flat_map(BTreeMap::values).sum()
    }

    /// Takes in what a driver did.
    pub fn take_in(&mut self, broker: &str, done: Done) {
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
            "seed {}, {} s: {} acts, {} runs beside, {} acts not to be had here",
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
