//! What was measured: medians, spreads, and the last line.

use serde_json::{Map, Value, json};

/// The keys that the last line always has, in this order; what was left out is null.
const KEYS: [&str; 15] = [
    "floor_ratio_64",
    "floor_ratio_1024",
    "flushes_per_commit",
    "partitions_32_over_4",
    "device_bytes_ratio_64",
    "device_bytes_ratio_1024",
    "compressed_bytes_ratio_1024",
    "cold_bytes_ratio",
    "offline_hours_256mb_5hz",
    "peer_ratio_min_64",
    "peer_ratio_min_1024",
    "partition_files_ratio_32",
    "read_ratio",
    "rss_above_base_mib",
    "open_over_segment_read",
];

/// The figures so far.
pub(crate) struct Figures(Vec<(String, Value)>);

impl Figures {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Remembers a figure, to three digits behind the point.
    pub(crate) fn put(&mut self, key: impl Into<String>, value: f64) {
        let (key, rounded) = (key.into(), thousandths(value));
        println!("  {key} = {rounded}");
        self.0.push((key, json!(rounded)));
    }

    /// Remembers the median of rounds under `key`, and beside it the quartiles. Gives the median.
    pub(crate) fn put_rounds(&mut self, key: &str, rounds: &[f64]) -> f64 {
        let middle = median(rounds);
        self.put(key, middle);
        let (low, high) = (thousandths(quantile(rounds, 0.25)), thousandths(quantile(rounds, 0.75)));
        println!("    half of {} rounds lie from {low} to {high}", rounds.len());
        self.0.push((format!("{key}_quartiles"), json!([low, high])));
        middle
    }

    /// One JSON object on one line: first the keys of the target table, then the details.
    pub(crate) fn last_line(self) -> String {
        let known = |key: &str| KEYS.contains(&key);
        let (targets, details): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(key, _)| known(key));
        let targets: Map<String, Value> = targets.into_iter().collect();
        let fields = KEYS.iter().map(|key| ((*key).to_owned(), targets.get(*key).cloned().unwrap_or(Value::Null)));
        let fields = fields.chain(details).map(|(key, value)| format!("{}:{value}", json!(key)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Between two values the line that joins them.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = last as f64 * share;
    let (low, part) = (at.floor() as usize, at.fract());
    sorted[low] + (sorted[(low + 1).min(last)] - sorted[low]) * part
}
