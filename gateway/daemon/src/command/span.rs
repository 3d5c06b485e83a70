//! A span of time, for people.

use std::time::Duration;

/// In its two largest units, from seconds up; what is less is left out.
pub(super) fn span(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// The same of seconds that may be anything: what is no span at all is the longest one.
pub(super) fn seconds_span(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        let told: Vec<_> = [999, 61_000, 7_260_000, 90_000_000].map(|ms| span(Duration::from_millis(ms))).into();
        assert_eq!(told, ["0 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]);
        assert_eq!(seconds_span(125.0), "2 min 5 s");
        assert_eq!(seconds_span(f64::NAN), seconds_span(1e300));
    }
}
