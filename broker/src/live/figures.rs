//! Formats numbers for people: three digits and a unit.

/// Formats a count: `999`, `1.23M`.
#[must_use]
pub fn count(value: u64) -> String {
    scaled(value as f64, &["", "k", "M", "G", "T", "P", "E"], 1000.0)
}

/// Formats a number of bytes: `4.00Ki`.
#[must_use]
pub fn bytes(value: u64) -> String {
    scaled(value as f64, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], 1024.0)
}

/// Formats a number of events per second: `12.3`.
#[must_use]
pub fn rate(value: f64) -> String {
    if value < 1000.0 { three(value) } else { count(value as u64) }
}

/// Formats a time in nanoseconds: `1.02us`; `-` for `None`.
#[must_use]
pub fn time(nanoseconds: Option<u64>) -> String {
    match nanoseconds {
        None => "-".to_owned(),
        Some(value @ 0..1_000_000_000_000) => scaled(value as f64, &["ns", "us", "ms", "s"], 1000.0),
        Some(value) => duration(value as f64 / 1e9),
    }
}

/// Formats a duration in seconds: `59s`, `3m02s`, `5h01m`, `2d04h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
    }
}

fn scaled(mut value: f64, units: &[&str], step: f64) -> String {
    let mut unit = 0;
    // 999.5 would be rounded to four digits.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let is_whole = unit == 0 && value.fract() == 0.0;
    if is_whole { format!("{value}{}", units[unit]) } else { format!("{}{}", three(value), units[unit]) }
}

fn three(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(
            [0, 7, 999, 1000, 12_345, u64::MAX].map(count),
            ["0", "7", "999", "1.00k", "12.3k", "18.4E"]
        );
        assert_eq!([1023, 4096, 3 << 29].map(bytes), ["1.00Ki", "4.00Ki", "1.50Gi"]);
        assert_eq!([Some(256), Some(8192), Some(1 << 38), None].map(time), ["256ns", "8.19us", "275s", "-"]);
        assert_eq!([0.0, 182.9, 18_100.0, 187_200.0].map(duration), ["0s", "3m02s", "5h01m", "2d04h"]);
        assert_eq!([0.5, 10.0, 99_999.0].map(rate), ["0.50", "10.0", "100k"]);
    }
}
