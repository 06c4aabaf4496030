//! The result: one row a measurement, each beside the limit that was measured in the same minutes.

use super::placement::Placement;
use serde::Serialize;
use std::fmt;

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time of one operation.
    Nanoseconds,
    /// Operations a second.
    PerSecond,
}

impl Unit {
    /// `value` nanoseconds of one operation, in this unit.
    #[must_use]
    pub fn from_nanoseconds(self, value: f64) -> f64 {
        match self {
            Unit::Nanoseconds => value,
            Unit::PerSecond => 1e9 / value,
        }
    }

    /// `value` of this unit as people read it.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value < 1e3 => format!("{value:.2} ns"),
            Unit::Nanoseconds => format!("{:.2} us", value / 1e3),
            Unit::PerSecond => format!("{:.0} k/s", value / 1e3),
        }
    }
}

/// What a row is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Ours at most so many times the limit.
    AtMost(f64),
    /// Ours at least so many times the limit.
    AtLeast(f64),
    /// Ours at most so many times one no-op notification of the bare supervisor: a goal in time, freed from the
    /// speed of the machine.
    Notifications(f64),
}

impl Goal {
    /// Whether `ours` reaches it, where a bare no-op notification takes `notification` nanoseconds.
    #[must_use]
    pub fn is_met(self, limit: f64, ours: f64, notification: f64) -> bool {
        match self {
            Goal::AtMost(ratio) => ours <= ratio * limit,
            Goal::AtLeast(ratio) => ours >= ratio * limit,
            Goal::Notifications(number) => ours <= number * notification,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(ratio) => write!(f, "<= {ratio:.2}x"),
            Goal::AtLeast(ratio) => write!(f, ">= {ratio:.2}x"),
            Goal::Notifications(number) => write!(f, "<= {number:.0} no-ops"),
        }
    }
}

/// One measurement beside its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub key: String,
    /// What was measured.
    pub what: &'static str,
    /// Where it ran.
    pub placement: Placement,
    /// Of `limit` and `ours`.
    pub unit: Unit,
    /// Median of the limit.
    pub limit: f64,
    /// Median of the product.
    pub ours: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// To reach.
    #[serde(serialize_with = "as_text")]
    pub goal: Goal,
    /// To strive for: the best design that was measured, or near it.
    #[serde(serialize_with = "as_text")]
    pub aim: Goal,
    /// Whether `goal` is reached.
    pub met: bool,
}

fn as_text<S: serde::Serializer>(goal: &Goal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(goal)
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Kernel release.
    pub kernel: String,
    /// CPUs that the process was given.
    pub cpus: usize,
    /// Batches of each side; every figure is a median over them.
    pub rounds: u32,
    /// One a measurement and placement.
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux {}, {} CPUs, medians of {} rounds", self.kernel, self.cpus, self.rounds)?;
        let mut last = None;
        for row in &self.rows {
            if last.replace(row.placement) != Some(row.placement) {
                writeln!(f, "\n{}", row.placement.title())?;
                write_line(f, ["what", "limit", "ours", "ratio", "goal"])?;
            }
            let (limit, ours) = (row.unit.show(row.limit), row.unit.show(row.ours));
            let goal = format!("{}{}", row.goal, if row.met { "" } else { "  MISSED" });
            write_line(f, [row.what, &limit, &ours, &format!("{:.2}x", row.ratio), &goal])?;
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, [what, limit, ours, ratio, goal]: [&str; 5]) -> fmt::Result {
    writeln!(f, "{what:<46} {limit:>10} {ours:>10} {ratio:>7}  {goal}")
}

/// The middle of `values`; NaN for none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert!(median(Vec::new()).is_nan());
        assert_eq!(median(vec![9.0]), 9.0);
        assert_eq!(median(vec![5.0, 1.0, 100.0]), 5.0);
    }

    #[test]
    fn goals_compare_with_what_they_name() {
        assert!(Goal::AtMost(1.3).is_met(2500.0, 3250.0, f64::NAN));
        assert!(!Goal::AtMost(1.3).is_met(2500.0, 3251.0, f64::NAN));
        assert!(Goal::AtLeast(0.95).is_met(300.0, 285.0, f64::NAN));
        assert!(!Goal::AtLeast(0.95).is_met(300.0, 284.0, f64::NAN));
        assert!(Goal::Notifications(36.0).is_met(1.0, 90_000.0, 2500.0));
        assert!(!Goal::Notifications(36.0).is_met(1e9, 90_001.0, 2500.0));
    }

    #[test]
    fn a_report_without_a_measurement_of_the_yardstick_meets_nothing() {
        assert!(!Goal::Notifications(36.0).is_met(1.0, 1.0, f64::NAN));
    }

    #[test]
    fn table_heads_each_placement_once() {
        let row = |placement| Row {
            key: "noop".into(),
            what: "no-op notification",
            placement,
            unit: Unit::Nanoseconds,
            limit: 2500.0,
            ours: 2600.0,
            ratio: 1.04,
            goal: Goal::AtMost(1.3),
            aim: Goal::AtMost(1.15),
            met: true,
        };
        let rows = vec![row(Placement::OneCpu), row(Placement::OneCpu), row(Placement::Unpinned)];
        let text = Report { kernel: "6.18".into(), cpus: 2, rounds: 3, rows }.to_string();
        assert_eq!(text.matches("what ").count(), 2);
        assert_eq!(text.matches("2.50 us    2.60 us   1.04x  <= 1.30x").count(), 3);
    }
}
