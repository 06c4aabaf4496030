//! The results: a row for each measurement, with the limit that was measured at the same time.

use super::placement::Placement;
use serde::Serialize;
use std::fmt;

/// The unit of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time of one operation.
    Nanoseconds,
    /// Operations per second.
    PerSecond,
}

impl Unit {
    /// Converts nanoseconds per operation to this unit.
    #[must_use]
    pub fn from_nanoseconds(self, value: f64) -> f64 {
        match self {
            Unit::Nanoseconds => value,
            Unit::PerSecond => 1e9 / value,
        }
    }

    /// Formats a value.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value < 1e3 => format!("{value:.2} ns"),
            Unit::Nanoseconds => format!("{:.2} us", value / 1e3),
            Unit::PerSecond => format!("{:.0} k/s", value / 1e3),
        }
    }
}

/// The goal of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most this multiple of the limit.
    AtMost(f64),
    /// At least this multiple of the limit.
    AtLeast(f64),
    /// At most this many no-op notifications of the bare supervisor: a time that does not depend on the speed
    /// of the machine.
    Notifications(f64),
}

impl Goal {
    /// Whether `ours` meets the goal, if a no-op notification of the bare supervisor takes `notification`
    /// nanoseconds.
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

/// A measurement and its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub key: String,
    /// What was measured.
    pub what: &'static str,
    /// The CPUs it ran on.
    pub placement: Placement,
    /// Unit of `limit` and `ours`.
    pub unit: Unit,
    /// Median of the limit.
    pub limit: f64,
    /// Median of the product.
    pub ours: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// The goal.
    #[serde(serialize_with = "as_text")]
    pub goal: Goal,
    /// The best result of any design that was measured, or close to it.
    #[serde(serialize_with = "as_text")]
    pub aim: Goal,
    /// Whether `goal` is met.
    pub met: bool,
}

fn as_text<S: serde::Serializer>(goal: &Goal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(goal)
}

/// All measurements.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Kernel release.
    pub kernel: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Batches of each side. Every value is the median of their results.
    pub rounds: u32,
    /// One row for each measurement and placement.
    pub rows: Vec<Row>,
}

impl fmt::Display for Results {
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

/// The median of `values`; NaN if there are none.
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
    fn goals_compare_with_the_limit_or_the_notification() {
        assert!(Goal::AtMost(1.3).is_met(2500.0, 3250.0, f64::NAN));
        assert!(!Goal::AtMost(1.3).is_met(2500.0, 3251.0, f64::NAN));
        assert!(Goal::AtLeast(0.95).is_met(300.0, 285.0, f64::NAN));
        assert!(!Goal::AtLeast(0.95).is_met(300.0, 284.0, f64::NAN));
        assert!(Goal::Notifications(36.0).is_met(1.0, 90_000.0, 2500.0));
        assert!(!Goal::Notifications(36.0).is_met(1e9, 90_001.0, 2500.0));
    }

    #[test]
    fn a_goal_in_notifications_is_missed_without_their_measurement() {
        assert!(!Goal::Notifications(36.0).is_met(1.0, 1.0, f64::NAN));
    }

    #[test]
    fn each_placement_has_one_heading() {
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
        let text = Results { kernel: "6.18".into(), cpus: 2, rounds: 3, rows }.to_string();
        assert_eq!(text.matches("what ").count(), 2);
        assert_eq!(text.matches("2.50 us    2.60 us   1.04x  <= 1.30x").count(), 3);
    }
}
